"""Machine code at an address: called for every worker, never with types that it is not for, compiled when needed."""

import itertools
from typing import NamedTuple

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from fastml.kernels.compile import calls
from fastml.kernels.compile.forks import parallel_lock
from fastml.kernels.compile.options import worker_kernel
from fastml.kernels.network import Network
from fastml.kernels.panels import MOST_VECTORS, Arrays
from fastml.kernels.products import PRODUCTS
from fastml.kernels.simd.tiles import UNITS
from fastml.kernels.update import Sgd, Update
from tests.compiled import compiled

pytestmark = pytest.mark.usefixtures("own_run_workers")


class Inner(NamedTuple):
    """A tuple in a tuple."""

    out: NDArray
    factor: float


class Outer(NamedTuple):
    """A tuple with a tuple in it."""

    inner: Inner
    offset: int


@worker_kernel
def note(flag, outer, worker, workers):
    """Write what each worker was given to its row."""
    row = outer.inner.out[worker]
    row[0] += worker
    row[1] += workers
    row[2] += outer.inner.factor
    row[3] += outer.offset
    row[4] += flag


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_each_worker_is_given_all_arguments_once(workers):
    out = np.zeros((workers, 5))
    with parallel_lock:
        calls.run(note, workers, (True, Outer(Inner(out, 2.5), -7)))
    np.testing.assert_array_equal(out, [[worker, workers, 2.5, -7, 1] for worker in range(workers)])


def call_with(address, x):
    calls.call_at(address, (x,))


@worker_kernel
def double(x):
    x[0] *= 2


def test_what_is_at_an_address_is_called():
    x = np.array([1.5, 1.5])
    compiled(call_with)(calls.address_of(double, (x,)), x)
    assert x.tolist() == [3, 1.5]


def test_types_that_nothing_was_compiled_for_are_refused():
    with pytest.raises(numba.TypingError, match="no kernel was compiled to be called with"):
        compiled(call_with)(0, np.zeros((1, 1, 1), np.complex64))


def test_products_are_compiled_for_the_widths_that_panels_have():
    weights = np.zeros((20, 100), np.float32), np.zeros((100, 3), np.float32)
    first = Network(tuple(Arrays(W, None) for W in weights), 1)
    first.reserve(10, Update(Sgd(np.zeros((1, 1), np.float32)), 0, (), True, True))
    products, offsets = first.weights.first.products, first.weights.first.offsets
    used = [number for number, name in enumerate(PRODUCTS) if name in ("forward", "gradient")]
    assert products[used].all()
    for p, q in itertools.product(range(len(offsets) - 1), repeat=2):
        same = np.diff(offsets)[p] == np.diff(offsets)[q]
        assert (products[used, p] == products[used, q]).all() == same


def test_each_kernel_of_a_product_has_a_file_of_its_own():
    # They have one signature: from a file of several, one would be taken for the other.
    names = [kernel.py_func.__qualname__ for kernels in PRODUCTS.values() for kernel in kernels]
    assert len(set(names)) == len(names)
    assert {len(kernels) for kernels in PRODUCTS.values()} == {MOST_VECTORS * UNITS}
