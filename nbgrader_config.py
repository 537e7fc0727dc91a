"""Settings of nbgrader and formgrader in this folder: those of autograder/course.py, and yours.

Your own lines go to the end, e.g. c.AssignLatePenalties.plugin_class = "late.TenPercentADay".
"""

from pathlib import Path

from autograder.course import course_config, find_course

c = get_config()  # noqa: F821  (traitlets gives it to configuration files)
c.merge(course_config(find_course(Path(__file__).parent)))
