"""What a learner imports in a Glass Box lab.

`check` tells whether a function is right and which known mistake it makes; `pick_scale` chooses the
size of a lab's experiments for the machine it runs on; `explore` shows the book's explorers.
Nothing here grades anything: marks are the business of the teacher's package `autograder`, which
this package never imports.
"""

from glassbox import explore
from glassbox.scale import Scale, pick_scale

__all__ = ["Scale", "__version__", "explore", "pick_scale"]
__version__ = "0.1.0"
