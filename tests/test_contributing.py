"""CONTRIBUTING.md promises an exercise in 15 minutes: its example is built and audited as it is."""

import re
import shutil
from pathlib import Path

from autograder.audit import _audit_exercise
from autograder.build import build
from autograder.course import Course

ROOT = Path(__file__).parents[1]
LAB = "lab01_attention"


def test_the_example_exercise_is_built_and_passes_its_audit(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    stub, tests, versions = blocks
    shutil.copytree(ROOT / "solutions", tmp_path / "solutions")
    (tmp_path / "labs").mkdir()
    course = Course(tmp_path)
    heading = "# %% [markdown]\n# ## 14. Residual ({points:residual_add}, 5 min)\n\n"
    with course.source(LAB).open("a") as file:
        file.write("\n" + heading + stub + "\n" + tests)
    with (tmp_path / "solutions" / LAB / "mistakes.py").open("a") as file:
        file.write("\n\n" + versions)
    build(course, [LAB])
    assert "14. Residual (5 points, 5 min)" in course.release(LAB).read_text()
    audited = _audit_exercise(course, LAB, "residual_add", judged=True)
    assert audited.faults() == []
    assert audited.survivors == []
    assert all(v.named == audited.diagnoses[v.name] for v in audited.wrong)
