"""The most memory that a process has which does one piece of work with one implementation, and nothing else.

All of it counts: the interpreter, the libraries, X, what is made of it, and what compiling takes. The work comes in a
file, as making it may take more than doing it.
"""

import importlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from implementations.base import Implementation
from numpy.typing import NDArray

if TYPE_CHECKING:  # in the process that is measured it would bring in fastml
    from side_by_side import Work

STATUS = Path("/proc/self/status")


def peak_memory(implementation: type[Implementation], X: NDArray, work: "Work") -> int | None:
    """Return the peak of a new process in bytes; None where the system, other than Linux, doesn't keep it."""
    if not STATUS.exists():
        return None
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "work.npz")
        weights = {f"W{number}": W for number, W in enumerate(work.start)}
        np.savez(path, X=X, y=work.y, lr=work.lr, batch=work.batch, evaluation=work.evaluation, **weights)
        command = [sys.executable, __file__, implementation.__module__, implementation.__name__, path]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def do(module: str, name: str, path: str) -> None:
    """Do the work in a file and print the peak."""
    with np.load(path) as file:
        X, y, lr, batch = file["X"], file["y"], file["lr"].item(), file["batch"].item()
        start = [file[key] for key in sorted(file.files) if key.startswith("W")]
        evaluation = file["evaluation"].item()
    side = getattr(importlib.import_module(module), name)(X, y, start, lr, batch)
    side.reset()
    side.evaluate() if evaluation else side.epoch()
    # Not ru_maxrss of getrusage: a process that was started from a larger one begins with the other's peak.
    print(1024 * int(re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())[1]))


if __name__ == "__main__":
    do(*sys.argv[1:])
