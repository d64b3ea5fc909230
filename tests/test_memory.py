"""Nothing is read or written outside arrays: each lies in memory that ends, or begins, at a page nobody may touch."""

import ctypes
import itertools
import mmap
import os
import sys

import numpy as np
import pytest

import fastml
from fastml import verdicts
from fastml.kernels import loss
from tests import bits
from tests.problems import EPOCHS, make_problem

pytestmark = pytest.mark.skipif(os.name != "posix", reason="protects pages with mprotect")
CANARY = 0xA5
DTYPES = ("float32", "float64")
X_DTYPES = ("uint8", "float32", "float64")
# Rows, inputs, hidden units, classes, rows of a batch. A batch of more than 128 rows goes through in blocks.
SHAPES = (
    *itertools.product((1, 5, 16, 17), (1, 15, 16, 17, 83, 784), (1, 17, 100), (1, 2, 10, 11), (16,)),
    *itertools.product((300, 544), (80, 83), (1, 100), (10,), (300, 544)),
    *itertools.product((17, 300), (83, 784), (1, 100), (49, 64, 101), (16, 300)),
)


class Guard:
    """Memory between two pages that can't be touched, and arrays that begin at the first or end at the second."""

    def __init__(self, at_end):
        self.at_end, self.placed = at_end, []
        self.protect = ctypes.CDLL(None, use_errno=True).mprotect
        self.protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int

    def memory(self, size):
        """Return whole pages of at least size bytes, between two that can't be touched."""
        size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        memory = np.frombuffer(mmap.mmap(-1, size + 2 * mmap.PAGESIZE), np.uint8)
        for page in (0, mmap.PAGESIZE + size):
            if self.protect(memory.ctypes.data + page, mmap.PAGESIZE, 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        return memory[mmap.PAGESIZE : mmap.PAGESIZE + size]

    def place(self, array):
        """Return a copy of array at the edge of its memory, with canaries in what is left of that."""
        memory = self.memory(max(array.nbytes, 1))
        memory[:] = CANARY
        start = memory.size - array.nbytes if self.at_end else 0
        copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
        copy[...] = array
        copy.flags.writeable = array.flags.writeable
        self.placed.append((memory, start, start + array.nbytes))
        return copy

    def place_all(self, values):
        """Return values with the arrays among them placed."""
        return [self.place(value) if isinstance(value, np.ndarray) else value for value in values]

    def check(self):
        """Assert that all canaries are alive, and forget about the arrays so far."""
        for memory, begin, end in self.placed:
            assert (memory[:begin] == CANARY).all()
            assert (memory[end:] == CANARY).all()
        self.placed.clear()

    def place_deep(self, values):
        """Return a tuple with the arrays in it, and in the tuples in it, placed."""
        placed = self.place_all(self.place_deep(value) if isinstance(value, tuple) else value for value in values)
        return type(values)(*placed) if hasattr(values, "_fields") else tuple(placed)

    def surround(self, kernels):
        """Place whatever a model's kernels get: packed weights, memory, examples and verdicts."""
        reserve = kernels.reserve

        def reserve_placed(self_, *arguments, **keywords):
            reserve(self_, *arguments, **keywords)
            self_.memory = self.place_deep(self_.memory)
            self_.weights = self.place_deep(self_.weights)

        kernels.reserve = reserve_placed
        for name in ("learn", "judge"):
            setattr(kernels, name, self.placing_examples(getattr(kernels, name)))

    def placing_examples(self, run):
        def run_placed(self_, examples, *arguments):
            *others, verdicts, workers = arguments
            placed = self.place_deep(verdicts)
            run(self_, self.place_deep(examples), *others, placed, workers)
            for array, made in zip(verdicts, placed, strict=True):
                array[...] = made

        return run_placed

    def surround_judge(self):
        """Place what the kernel gets that judges logits."""
        judge = verdicts.judge_logits

        def judge_placed(*arguments):
            *arrays, verdicts = arguments
            placed = loss.Verdicts(*self.place_all(verdicts))
            judge(*self.place_all(arrays), placed)
            for array, made in zip(verdicts, placed, strict=True):
                array[...] = made

        verdicts.judge_logits = judge_placed


def touch(guard, shapes):
    """Train, evaluate and predict on arrays of all shapes and dtypes; shapes take turns with the dtypes of X."""
    for dtype, shape in itertools.product(DTYPES, shapes):
        x_dtype = X_DTYPES[sum(shape) % 3]
        # The lists of what is not zero are longest where nothing is.
        problem = make_problem(*shape, dtype=x_dtype, density=1.0, lr=0.01)
        order = np.random.default_rng(0).permutation(shape[0])
        X, y, order = guard.place_all((problem.X, problem.y, order))
        # The first number of hidden units stands for all where there is none.
        for model in ("nn", "softmax") if shape[2] == SHAPES[0][2] else ("nn",):
            weights = guard.place_all(problem.weights(model, dtype))
            EPOCHS[model][0](X, y, *weights, **problem.settings)
            EPOCHS[model][0](X, y, *weights, **problem.settings, order=order)
            fastml.evaluate(X, y, *weights)
            fastml.predict(X, *weights)
            if dtype == "float32" and sum(shape) % 4 == 0:
                placed = guard.place_all((np.ones(shape[0]), np.full(shape[1], 0.1), np.full(shape[1], 0.01)))
                names = ("bias",) if model == "softmax" else ("b1", "b2")
                biases = {
                    name: guard.place(np.zeros(W.shape[1], W.dtype)) for name, W in zip(names, weights, strict=True)
                }
                options = dict(zip(("sample_weight", "shift", "scale"), placed, strict=True)) | biases
                settings = problem.settings | options | {"optimizer": fastml.AdamW()}
                EPOCHS[model][0](X, y, *weights, **settings, order=order)
                del options["sample_weight"]
                fastml.evaluate(X, y, *weights, **options)
            fastml.loss_err(np.zeros((shape[0], shape[3]), dtype), y)
            assert all(np.isfinite(W).all() for W in weights)
        guard.check()


@pytest.fixture(scope="module")
def compiled():
    """Compile in this process, where nothing is surrounded, what is not in the cache: the other need not."""
    touch(Guard(at_end=True), [(1, inputs, 1, 2, batch) for inputs in (83, 784) for batch in (1, 2, 3)])


@pytest.mark.parametrize("edge", ["end", "begin"])
def test_nothing_outside_arrays_is_touched(edge, compiled):
    assert bits.run_python("-m", "tests.test_memory", edge, NUMBA_NUM_THREADS="3") == "touched nothing\n"


@pytest.mark.parametrize("edge", ["end", "begin"])
def test_a_guard_sees_a_byte_beyond_an_array(edge):
    status, output, _ = bits.end_python(bits.start_python("-m", "tests.test_memory", edge, "overrun"))
    assert status < 0
    assert output == "canary is dead\n"


def overrun(guard):
    """In a process of its own: write a byte on the free side of an array, then read one on the guarded side."""
    array = guard.place(np.zeros(3, np.uint8))
    first = array.ctypes.data
    free, guarded = (first - 1, first + 3) if guard.at_end else (first + 3, first - 1)
    ctypes.memset(free, 0, 1)
    try:
        guard.check()
    except AssertionError:
        print("canary is dead", flush=True)
    ctypes.string_at(guarded, 1)


def main(edge, *also):
    guard = Guard(at_end=edge == "end")
    if also:
        overrun(guard)
        return
    bits.share_every_batch([])
    for kernels in bits.KERNELS:
        guard.surround(kernels)
    guard.surround_judge()
    touch(guard, SHAPES)
    print("touched nothing")


if __name__ == "__main__":
    main(*sys.argv[1:])
