"""The peak memory of a new process that does one piece of work with one implementation, and nothing else.

The peak includes the interpreter, the libraries, X, copies of X, and the memory of the compiler. The process reads the
work from a file, because to make the work may take more memory than to do it.
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

if TYPE_CHECKING:  # side_by_side imports fastml, and the measured process must not
    from side_by_side import Work

STATUS = Path("/proc/self/status")


def peak_memory(implementation: type[Implementation], X: NDArray, work: "Work") -> int | None:
    """Return the peak of a new process in bytes; None where the system does not record it. Linux does."""
    if not STATUS.exists():
        return None
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "work.npz")
        weights = {f"W{number}": W for number, W in enumerate(work.start)}
        settings = {name: getattr(work, name) for name in ("y", "lr", "batch", "evaluation", "optimizer")}
        np.savez(path, X=X, **settings, **weights)
        command = [sys.executable, __file__, implementation.__module__, implementation.__name__, path]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def do(module: str, name: str, path: str) -> None:
    """Do the work that a file holds, and print the peak of this process."""
    with np.load(path) as file:
        X, y, lr, batch = file["X"], file["y"], file["lr"].item(), file["batch"].item()
        start = [file[key] for key in sorted(file.files) if key.startswith("W")]
        evaluation, optimizer = file["evaluation"].item(), str(file["optimizer"])
    side = getattr(importlib.import_module(module), name)(X, y, start, lr, batch)
    side.optimizer = optimizer
    side.reset()
    side.evaluate() if evaluation else side.epoch()
    # The ru_maxrss of getrusage would be wrong: there a process begins with the peak of the process that started it.
    print(1024 * int(re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())[1]))


if __name__ == "__main__":
    do(*sys.argv[1:])
