"""What a teacher runs: build labs, grade submissions, return feedback, export marks, audit tests.

Learners never get this package; `glassbox` never imports it.
"""
