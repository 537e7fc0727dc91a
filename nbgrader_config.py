"""Settings of nbgrader and formgrader in this folder: those of autograder/course.py."""

from autograder.course import find_course, nbgrader_config

c = get_config()  # noqa: F821  (traitlets gives it to configuration files)
c.merge(nbgrader_config(find_course()))
