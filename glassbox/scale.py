"""Choose how large a lab's experiments are on this machine, and keep a record of a large run.

S runs on two CPU cores in a minute and is what is graded; M wants a GPU with 16 GB, L one with
40 GB or more, except in labs that only have more to read there. The functions of a lab are the same
at every scale. This module measures nothing and trains nothing; it only says where to run and
writes down what was measured.
"""

import json
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import torch

T = TypeVar("T")
GB = 1e9
NEEDED = {"S": 0.0, "M": 14.0, "L": 39.0}  # GB of GPU memory, a little below the nominal size


@dataclass(frozen=True)
class Scale:
    """A size of experiment (`name` S, M or L) and where it runs."""

    name: str
    device: str
    memory: float  # bytes that the device has
    hardware: str

    def choose(self, small: T, medium: T, large: T) -> T:
        """The setting for this scale: `n_tokens = scale.choose(512, 8192, 65536)`."""
        return {"S": small, "M": medium, "L": large}[self.name]

    def announce(self, task: str, n_bytes: float) -> None:
        """Print what `task` will need before it runs; raise MemoryError if it cannot fit."""
        has, needs = self.memory / GB, n_bytes / GB
        about = f"{needs:.1f} GB" if needs >= 1 else f"{1e3 * needs:.3g} MB"
        print(f"{task}: needs about {about} of the {has:.0f} GB on {self.hardware}.")
        if n_bytes > 0.9 * self.memory:
            raise MemoryError(
                f"{task} would not fit. Choose a smaller scale: set GLASSBOX_SCALE=S before "
                "starting the notebook, or lower the numbers in this cell."
            )

    def record(self, lab: str, results: dict[str, Any], path: str = "run_record.json") -> Path:
        """Write what an M or L run measured, with machine and versions, beside the notebook."""
        file = Path(path)
        record = {
            "lab": lab,
            "scale": self.name,
            "hardware": self.hardware,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "results": results,
        }
        file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        return file


def pick_scale(needs_gpu: bool = True) -> Scale:
    """The largest scale that this machine can run; S while grading.

    The environment variable GLASSBOX_SCALE (S, M or L) overrides the choice. On a CPU the labs use
    one thread, so that results repeat and notebooks side by side do not slow each other down. A lab
    that has no use for a GPU runs on the CPU, and at S unless that variable says otherwise.
    """
    wish = os.environ.get("GLASSBOX_SCALE", "").upper()
    if wish not in ("", *NEEDED):
        raise ValueError(f"GLASSBOX_SCALE is {wish!r}; it must be S, M or L.")
    memory = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0
    fits = [name for name, need in NEEDED.items() if memory >= need * GB]
    name = wish or (fits[-1] if needs_gpu else "S")
    if os.environ.get("GLASSBOX_GRADING"):
        name = "S"
    if name == "S" or not needs_gpu:
        torch.set_num_threads(1)
        return Scale(name, "cpu", _ram(), f"{os.cpu_count()} CPU cores")
    if not memory:
        raise RuntimeError(f"GLASSBOX_SCALE={name} needs a CUDA GPU, and torch sees none.")
    return Scale(name, "cuda", memory, torch.cuda.get_device_name(0))


def _ram() -> float:
    """Bytes of main memory; 8 GB where the system does not tell (Windows)."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError):
        return 8 * GB
