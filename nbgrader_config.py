"""Settings of nbgrader and formgrader in this folder: those of autograder/course.py, and yours.

Your own lines go to the end; a plugin's class may be written there too, for example for late
hand-ins: c.AssignLatePenalties.plugin_class = MyPenalty.
"""

from pathlib import Path

from autograder.course import course_config, find_course

c = get_config()  # noqa: F821  (traitlets gives it to configuration files)
c.merge(course_config(find_course(Path(__file__).parent)))
