"""What the suites share: seeded data and weights, made once in a process, and epochs that have run before.

An epoch is timed with lr = 0. The weights then do not change, so all runs are equal, and the work is that of any other
lr: epochs of MNIST took 124.8 ms with lr 0 and 125.2 ms with lr 0.02, medians of 12.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numba.core.errors import NumbaError
from numpy.typing import NDArray

import fastml

INPUT_DIM, NUM_CLASSES = 784, 10
DTYPES = ["float32", "float64", "uint8"]
# The share of MNIST's pixels that are not zero.
MNIST = 0.19


@contextlib.contextmanager
def skipping_older_commits() -> Iterator[None]:
    """Skip a benchmark if its setup fails on an older commit, in an environment that asv built.

    In the tree of these suites the failure is an error.
    """
    try:
        yield
    except (ImportError, AttributeError, TypeError, NumbaError) as error:
        if Path(fastml.__file__).parents[1] == Path(__file__).parents[2]:
            raise
        raise NotImplementedError(f"not in this commit: {error}") from error


@functools.cache
def mnist() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return MNIST's training images and labels."""
    return fastml.load_mnist(raw=True)[0]


def in_unit_interval(pixels: NDArray[np.uint8], dtype: str) -> NDArray:
    """Return pixels as numbers in [0, 1]; as float32 for dtype uint8."""
    return pixels / np.dtype("float64" if dtype == "float64" else "float32").type(255)


@functools.cache
def images(dtype: str, density: float = MNIST) -> NDArray:
    """Return the training images as uint8, or in [0, 1].

    For a density below MNIST's some pixels, drawn at random, become zero. For a higher density some zeros become random
    pixels.
    """
    X, _ = mnist()
    if density != MNIST:
        generator = np.random.default_rng(0)
        noise = generator.integers(1, 256, X.shape, np.uint8)
        if density < MNIST:
            X = np.where(noise <= 255 * density / MNIST, X, 0)
        else:
            zero = (X == 0) & (generator.integers(1, 256, X.shape, np.uint8) <= 255 * (density - MNIST) / (1 - MNIST))
            X = np.where(zero, noise, X)
    return X if dtype == "uint8" else in_unit_interval(X, dtype)


def settings(X: NDArray) -> dict[str, float]:
    """Return the settings with which fastml takes X to be in [0, 1]."""
    return {"scale": 1 / 255} if X.dtype == np.uint8 else {}


def start_weights(*sizes: int, dtype: np.dtype) -> list[NDArray]:
    """Return normal random weights of each layer, divided by the root of the number of columns as in hw0."""
    generator = np.random.default_rng(0)
    shapes = itertools.pairwise(sizes)
    return [(generator.standard_normal((n, m)) / np.sqrt(m)).astype(dtype) for n, m in shapes]


def weights(hidden_dim: int, dtype: str = "float32") -> list[NDArray]:
    """Return random start weights as in hw0: of softmax regression if hidden_dim is 0, else of the network."""
    sizes = (INPUT_DIM, hidden_dim, NUM_CLASSES) if hidden_dim else (INPUT_DIM, NUM_CLASSES)
    return start_weights(*sizes, dtype=np.dtype("float64" if dtype == "float64" else "float32"))


@functools.cache
def epoch(
    hidden_dim: int, batch: int = 100, dtype: str = "float32", density: float = MNIST, largest: float = 1.0
) -> Callable[[], None]:
    """Return an epoch of the network, or of softmax regression if hidden_dim is 0, on floats up to the largest.

    It has run on two batches, so the kernels are compiled for its dtypes. All pages of the data have been written.
    """
    function = fastml.nn_epoch if hidden_dim else fastml.softmax_regression_epoch
    X, (_, y) = images(dtype, density), mnist()
    if largest != 1:
        X = X * X.dtype.type(largest)
    keywords = {"lr": 0.0, "batch": batch, **settings(X)}
    arrays = weights(hidden_dim, dtype)
    function(X[: 2 * batch], y[: 2 * batch], *arrays, **keywords)
    return functools.partial(function, X, y, *arrays, **keywords)


@functools.cache
def wide_epoch(input_dim: int, hidden_dim: int, batch: int, density: float) -> Callable[[], None]:
    """Return an epoch of the network on 1,000 rows of random floats of a density; it has run once."""
    generator = np.random.default_rng(0)
    X = generator.uniform(0.1, 1, (1000, input_dim)).astype(np.float32)
    X *= generator.random(X.shape, np.float32) < density
    y = generator.integers(NUM_CLASSES, size=len(X))
    arrays = start_weights(input_dim, hidden_dim, NUM_CLASSES, dtype=X.dtype)
    run = functools.partial(fastml.nn_epoch, X, y, *arrays, lr=0.0, batch=batch)
    run()
    return run


@functools.cache
def verdicts(name: str, hidden_dim: int, dtype: str) -> Callable[[], object]:
    """Return evaluate, predict or predict_proba of a model on the training images. It has run on a few of them."""
    function, X, arrays = getattr(fastml, name), images(dtype), weights(hidden_dim)
    data = (X, mnist()[1]) if name == "evaluate" else (X,)
    function(*(array[:1000] for array in data), *arrays, **settings(X))
    return functools.partial(function, *data, *arrays, **settings(X))


def dense_operations(rows: int, input_dim: int, hidden_dim: int, num_classes: int) -> int:
    """Return the floating-point operations of an epoch's products, zeros included; hidden_dim 0 means softmax."""
    if not hidden_dim:
        return 4 * rows * input_dim * num_classes
    return 4 * rows * (input_dim + num_classes) * hidden_dim + 2 * rows * hidden_dim * num_classes


def operations(hidden_dim: int) -> int:
    """Return the floating-point operations of an epoch's products on MNIST, zeros included."""
    return dense_operations(len(mnist()[0]), INPUT_DIM, hidden_dim, NUM_CLASSES)


def epoch_with(option: str) -> Callable[[], None]:
    """Return an epoch of the network with 400 hidden units and one option; it has run once."""
    X, y = images("uint8" if option.startswith("pixels") else "float32"), mnist()[1]
    W1, W2 = start_weights(INPUT_DIM, 400, NUM_CLASSES, dtype="float32")
    if option == "floats normalised before":
        X = (X - np.float32(0.1307)) / np.float32(0.3081)
    with skipping_older_commits():
        options = {
            "biases": lambda: {"b1": np.zeros(400, np.float32), "b2": np.zeros(NUM_CLASSES, np.float32)},
            "l2": lambda: {"l2": 0.01},
            "weights of examples": lambda: {"sample_weight": np.linspace(0.5, 1.5, len(X))},
            "nesterov": lambda: {"optimizer": fastml.Momentum()},
            "adamw": lambda: {"optimizer": fastml.AdamW()},
            "pixels with a scale": lambda: {"scale": 1 / 255},
            "pixels with scale and shift": lambda: {"scale": 1 / 255 / 0.3081, "shift": 255 * 0.1307},
        }
        run = functools.partial(fastml.nn_epoch, X, y, W1, W2, 0.0, 100, **options.get(option, dict)())
        run()
    return run
