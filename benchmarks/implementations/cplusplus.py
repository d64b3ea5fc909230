"""C++ loops like those of hw0's extension: loops.cpp, compiled into a temporary directory and called by ctypes."""

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from implementations.base import Implementation

SOURCE = Path(__file__).with_name("loops.cpp")
COMPILER = shutil.which("g++")
if not COMPILER:
    raise ImportError("there is no C++ compiler g++")


@functools.cache
def library(flags: tuple[str, ...]) -> ctypes.CDLL:
    """Compile the loops with these flags and load them. A loaded library stays when its file is deleted."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "loops.so")
        subprocess.run([COMPILER, "-std=c++17", "-shared", "-fPIC", *flags, SOURCE, "-o", path], check=True)
        return ctypes.CDLL(str(path))


class Loops(Implementation):
    """Matrix products by three nested loops, which the compiler vectorizes."""

    version = subprocess.run([COMPILER, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    single_thread = True
    most_classes = 256  # labels are bytes
    flags: tuple[str, ...]

    def __init__(self, X, y, start, lr, batch):
        super().__init__(X, np.ascontiguousarray(y, np.uint8), start, lr, batch)
        real = {"float32": ctypes.c_float, "float64": ctypes.c_double}[X.dtype.name]
        name = "nn_epoch" if len(start) == 2 else "softmax_regression_epoch"
        self.function = getattr(library(self.flags), f"{name}_{'float' if real is ctypes.c_float else 'double'}")
        sizes = [len(X), X.shape[1], *(W.shape[1] for W in start)]
        self.numbers = [*map(ctypes.c_size_t, sizes), real(lr), ctypes.c_size_t(batch)]

    def epoch(self):
        arrays = (array.ctypes.data_as(ctypes.c_void_p) for array in (self.X, self.y, *self.weights))
        self.function(*arrays, *self.numbers)


class Optimised(Loops):
    name = "C++ loops, -O3"
    flags = ("-O3",)


class Native(Loops):
    name = "C++ loops, -O3 -march=native"
    flags = ("-O3", "-march=native")


IMPLEMENTATIONS = [Optimised, Native]
