"""Seeded problems for the tests: data, labels and weights of given shapes, and arrays of awkward layouts."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

import fastml
from tests import reference

X_DTYPES = ("uint8", "float32", "float64", "bool", "int16", "int64", "uint64", "float16", ">f4", ">i4")
LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(np.repeat(a, 2, axis=0), 3, axis=1)[::2, ::3],
    "reversed": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "misaligned": lambda a: misaligned(a),
}


def misaligned(array):
    """Return a copy of array whose elements begin one byte off their alignment."""
    memory = np.empty(array.nbytes + 1, np.uint8)
    copy = memory[1:].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@dataclass
class Problem:
    """An epoch to run: data, settings, and the start weights of either model in float64."""

    X: np.ndarray
    y: np.ndarray
    theta: np.ndarray
    W1: np.ndarray
    W2: np.ndarray
    settings: dict

    def weights(self, model, dtype):
        """Return fresh start weights of a model, "softmax" or "nn"."""
        return [W.astype(dtype) for W in ((self.theta,) if model == "softmax" else (self.W1, self.W2))]


def make_problem(
    rows, input_dim, hidden_dim, num_classes, batch, dtype="float32", layout="C", density=0.5, seed=0, **settings
):
    """Return a random problem; X holds the values that its dtype can, a fraction density of them not zero."""
    random = np.random.default_rng(seed)
    kind = np.dtype(dtype).kind
    values = random.uniform(0.1, 1, (rows, input_dim)) if kind == "f" else random.integers(1, 100, (rows, input_dim))
    X = (values * (random.random((rows, input_dim)) < density)).astype(dtype)
    settings = {"lr": 0.3, "batch": batch, "scale": 1.0 if kind in "fb" else 1 / 64, **settings}
    return Problem(
        LAYOUTS[layout](X),
        random.integers(num_classes, size=rows),
        random.standard_normal((input_dim, num_classes)) / 2,
        random.standard_normal((input_dim, hidden_dim)) / np.sqrt(input_dim),
        random.standard_normal((hidden_dim, num_classes)) / np.sqrt(hidden_dim),
        settings,
    )


EPOCHS = {
    "softmax": (fastml.softmax_regression_epoch, reference.softmax_regression_epoch),
    "nn": (fastml.nn_epoch, reference.nn_epoch),
}


@st.composite
def problems(draw):
    """Draw problems of all the shapes, dtypes, layouts and settings that the contract names."""
    rows = draw(st.integers(1, 70))
    return make_problem(
        rows,
        input_dim=draw(st.integers(1, 40)),
        hidden_dim=draw(st.integers(1, 40)),
        num_classes=draw(st.integers(1, 20) | st.integers(45, 70)),
        batch=draw(st.integers(1, 80)),
        dtype=draw(st.sampled_from(X_DTYPES)),
        layout=draw(st.sampled_from(sorted(LAYOUTS))),
        density=draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
        seed=draw(st.integers(0, 2**32 - 1)),
        order=draw(st.sampled_from([None, np.random.default_rng(rows).permutation(rows)])),
        last_batch=draw(st.sampled_from(["nominal", "mean"])),
    )


def assert_as_accurate_as_numpy(got, exact, numpy_result, slack):
    """Assert that got lies within twice NumPy's own distance from the exact result, and slack for its lucky draws."""
    for fast, truth, peer in zip(got, exact, numpy_result, strict=True):
        allowed = 2 * np.abs(peer - truth).max() + slack * max(1.0, np.abs(truth).max())
        assert np.abs(fast - truth).max() <= allowed
