"""What runs on the student's side of grading; of the autograder, the sandbox shows this alone.

`zygote` is the warm process that forks one process per submission, `isolate` closes that process
in, `cells` runs a student's cells and answers the judge's questions, `wire` carries them. Nothing
here knows tests, points or solutions, and nothing that it says is a verdict: it returns values.
"""
