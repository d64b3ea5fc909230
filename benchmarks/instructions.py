"""Instructions per example of an epoch of both models, counted by Valgrind: what doesn't drift from run to run.

python benchmarks/instructions.py

The epochs are MNIST's first 2,000 images, on one thread. Compiling, importing and everything else that happens once is
not counted. Valgrind knows no AVX-512, so the kernels are compiled for AVX2: counts are to be compared with counts, on
any x86 machine that has it.
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
# A function of libc that nothing else here calls: Valgrind writes down what it has counted each time it is entered.
MARK = "getppid"


def run_epochs() -> None:
    """Run each epoch twice, the second time between two marks; the first time compiles, or loads the machine code."""
    (X, y), _ = fastml.load_mnist(raw=True)
    X, y = X[:ROWS] / np.float32(255), y[:ROWS]
    # Slices follow the clock, and what Python does between them would be counted: on this one no time passes.
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
        subprocess.run(epochs, env=environment, check=True)  # fills the cache: Valgrind has nothing to compile
        out = Path(directory, "counts")
        valgrind = ["valgrind", "--quiet", "--tool=callgrind", f"--dump-before={MARK}", f"--callgrind-out-file={out}"]
        subprocess.run([*valgrind, *epochs], env=environment, check=True)
        dumps = sorted(Path(directory).glob("counts.*"), key=lambda path: int(path.suffix[1:]))
        totals = [int(re.search(r"^(?:summary|totals): (\d+)", path.read_text(), re.MULTILINE)[1]) for path in dumps]
    # A dump at each mark: the even ones end with an epoch that is counted.
    return [total / ROWS for total in totals[1 : 2 * len(EPOCHS) : 2]]


def main() -> None:
    """Print the counts."""
    if not shutil.which("valgrind"):
        raise SystemExit("valgrind is not installed: it counts the instructions (package valgrind)")
    for name, instructions in zip(EPOCHS, count(), strict=True):
        print(f"{name}: {instructions:,.0f} instructions per example, one thread, float32, compiled for AVX2")


if __name__ == "__main__":
    run_epochs() if sys.argv[1:] == ["--epochs"] else main()
