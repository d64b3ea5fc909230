"""The kernels that measure the machine do all of the work that is divided by their time."""

import itertools

import numpy as np
import pytest

from fastml import roofline
from fastml.kernels.compile import forks
from fastml.kernels.simd.registers import REGISTER_BYTES

UNTOUCHED = -1.0


def lanes(dtype):
    return REGISTER_BYTES // np.dtype(dtype).itemsize


@pytest.mark.parametrize("dtype", roofline.DTYPES)
@pytest.mark.parametrize("workers", [1, 3])
def test_multiply_add_adds_each_step(dtype, workers):
    x = np.arange(1, roofline.ROWS + 1, dtype=dtype)[:, None]
    w = np.arange(roofline.VECTORS * lanes(dtype), dtype=dtype)[None]
    out = np.full(((workers + 1) * roofline.ROWS, w.size), UNTOUCHED, dtype)
    roofline.multiply_add(7, x, w, out, workers)
    np.testing.assert_array_equal(
        out, np.vstack([*[7 * x * w] * workers, np.full_like(out[: roofline.ROWS], UNTOUCHED)])
    )


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_read_adds_up_each_number(workers):
    shape = 5 * roofline.ROWS, 3 * lanes("float32")
    A = np.random.default_rng(0).integers(0, 1000, shape).astype(np.float32)
    out = np.full(((workers + 1) * roofline.ROWS, lanes("float32")), UNTOUCHED, np.float32)
    roofline.read(A, np.ones((1, A.shape[1]), np.float32), out, workers)
    assert out[: -roofline.ROWS].sum() == A.sum()
    assert (out[-roofline.ROWS :] == UNTOUCHED).all()


def test_the_best_of_several_measurements_is_kept(monkeypatch):
    peaks, bandwidths = itertools.count(100, -10), itertools.count(10.0)
    monkeypatch.setattr(forks, "available_threads", lambda: 2)
    monkeypatch.setattr(roofline, "fma_peak", lambda dtype, threads: next(peaks))
    monkeypatch.setattr(roofline, "read_bandwidth", lambda threads: next(bandwidths))
    found = roofline.Roofline()
    found.measure()
    found.measure()
    assert found.peaks == {("float32", 1): 100, ("float64", 1): 90, ("float32", 2): 80, ("float64", 2): 70}
    assert (found.peak("float64"), found.bandwidth()) == (70, 13.0)
    assert found.facts() == {
        "float32 FMA peak": "100 GFLOP/s on 1 thread, 80 GFLOP/s on 2 threads",
        "float64 FMA peak": "90 GFLOP/s on 1 thread, 70 GFLOP/s on 2 threads",
        "read bandwidth": "12.0 GB/s on 1 thread, 13.0 GB/s on 2 threads",
    }
