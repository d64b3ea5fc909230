"""Instructions per example of an epoch of both models, counted by Valgrind. Unlike times, counts do not drift.

python benchmarks/instructions.py

The epochs are MNIST's first 2,000 images, on one thread. The counts leave out compilation, imports and everything else
that happens once. Valgrind does not support AVX-512, so the kernels are compiled for AVX2, and the
machine must have it. Such counts say nothing of other machine code: compare them only with each other.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from suites import problems

import fastml
from fastml import slices

ROWS, HIDDEN_DIM = 2000, 100
CPU = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2,+lzcnt,+f16c",
}
EPOCHS = {"softmax regression": 0, f"network, {HIDDEN_DIM} hidden units": HIDDEN_DIM}
# A function of libc that nothing else here calls. Valgrind writes its counts to a file at each call of it.
MARK = "getppid"


def run_epochs() -> None:
    """Run each epoch twice: first to compile the kernels or load their machine code, then between two marks."""
    (X, y), _ = fastml.load_mnist(raw=True)
    X, y = X[:ROWS] / np.float32(255), y[:ROWS]
    # The length of slices depends on the clock, and so does the work of Python between them. This clock stands still.
    slices.time = SimpleNamespace(perf_counter=lambda: 0.0)
    for hidden_dim in EPOCHS.values():
        epoch = fastml.nn_epoch if hidden_dim else fastml.softmax_regression_epoch
        weights = problems.weights(hidden_dim)
        epoch(X, y, *weights)
        os.getppid()
        epoch(X, y, *weights)
        os.getppid()


def count() -> list[float]:
    """Return the instructions per example of each of EPOCHS."""
    with tempfile.TemporaryDirectory() as directory:
        one_thread = {"NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        environment = os.environ | CPU | one_thread | {"NUMBA_CACHE_DIR": directory}
        epochs = [sys.executable, __file__, "--epochs"]
        # The first run fills the cache, so that nothing is compiled under Valgrind.
        subprocess.run(epochs, env=environment, check=True)
        out = Path(directory, "counts")
        valgrind = ["valgrind", "--quiet", "--tool=callgrind", f"--dump-before={MARK}", f"--callgrind-out-file={out}"]
        subprocess.run([*valgrind, *epochs], env=environment, check=True)
        dumps = sorted(Path(directory).glob("counts.*"), key=lambda path: int(path.suffix[1:]))
        totals = [int(re.search(r"^(?:summary|totals): (\d+)", path.read_text(), re.MULTILINE)[1]) for path in dumps]
    # Each mark makes a dump, and every second dump holds the second run of an epoch.
    return [total / ROWS for total in totals[1 : 2 * len(EPOCHS) : 2]]


def main() -> None:
    """Print the counts."""
    if not shutil.which("valgrind"):
        raise SystemExit("valgrind is not installed: it counts the instructions (package valgrind)")
    for name, instructions in zip(EPOCHS, count(), strict=True):
        print(f"{name}: {instructions:,.0f} instructions per example, one thread, float32, compiled for AVX2")


if __name__ == "__main__":
    run_epochs() if sys.argv[1:] == ["--epochs"] else main()
