"""NUMBA_DISABLE_JIT: every function that needs a kernel says that the variable is in the way, and changes nothing."""

import json
import sys

import numpy as np

import fastml
from fastml import roofline
from fastml.datasets import deform, generate_mnist
from fastml.datasets.convert import convert
from tests import bits
from tests.problems import make_problem

MESSAGE = "NUMBA_DISABLE_JIT is set, but the kernels of fastml must be compiled: unset it"


def calls(directory):
    """Yield functions that need kernels, by name."""
    problem = make_problem(20, 8, 6, 3, batch=5)
    few, many, W1, W2 = np.zeros((8, 3)), np.zeros((8, 60)), np.ones((8, 6)), np.ones((6, 3))
    wide = np.ones((6, 60))
    X, y = problem.X, problem.y
    weights = {"few classes": (few,), "many classes": (many,), "network": (W1, W2), "wide": (W1, wide)}
    for name, arrays in weights.items():
        epoch = fastml.nn_epoch if len(arrays) == 2 else fastml.softmax_regression_epoch
        yield f"epoch, {name}", lambda epoch=epoch, arrays=arrays: epoch(X, y, *arrays)
        yield f"evaluate, {name}", lambda arrays=arrays: fastml.evaluate(X, y, *arrays)
        yield f"predict, {name}", lambda arrays=arrays: fastml.predict(X, *arrays)
        yield f"predict_proba, {name}", lambda arrays=arrays: fastml.predict_proba(X, *arrays)
    yield "softmax_loss", lambda: fastml.softmax_loss(few, y[:8])
    yield "loss_err", lambda: fastml.loss_err(few, y[:8])
    yield "train_softmax", lambda: fastml.train_softmax(X, y, X, y)
    yield "train_nn", lambda: fastml.train_nn(X, y, X, y)
    yield "warmup", fastml.warmup
    yield "deform", lambda: deform(np.zeros((1, 4, 4), np.uint8), [0])
    yield "generate", lambda: generate_mnist(f"{directory}/large", 60_001)
    files = [f"{directory}/{name}" for name in ("source", "images", "labels")]
    yield "libsvm", lambda: convert(*files, shape=(1, 1), text_format="libsvm")
    yield "csv", lambda: convert(*files, shape=(1, 1), text_format="csv")
    yield "roofline", lambda: roofline.fma_peak("float32", 1)


def call_all(directory):
    """In a process of its own: print what each call raises."""
    with open(f"{directory}/source", "w") as source:
        source.write("1,2\n")
    found = {}
    for name, call in calls(directory):
        try:
            found[name] = repr(call())
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(found))


def test_every_function_that_needs_a_kernel_names_the_variable(tmp_path):
    output = bits.run_python("-m", "tests.test_without_jit", str(tmp_path), NUMBA_DISABLE_JIT="1")
    found = json.loads(output.splitlines()[-1])
    assert found == dict.fromkeys([name for name, _ in calls(tmp_path)], f"RuntimeError: {MESSAGE}")
    assert not [path.name for path in tmp_path.iterdir() if path.name in ("images", "labels")]


def test_the_command_says_so_in_one_line_and_info_runs():
    run = {"directory": bits.ROOT, "NUMBA_DISABLE_JIT": "1"}
    output = bits.run_python("-m", "fastml", "info", **run)
    assert "NUMBA_DISABLE_JIT is set, so no kernel can run" in output
    for arguments in (["info", "--roofline"], ["train", "--epochs", "1"]):
        status, _, errors = bits.end_python(bits.start_python("-m", "fastml", *arguments, **run))
        assert (status, errors) == (2, f"fastml: error: {MESSAGE}\n")


if __name__ == "__main__":
    call_all(sys.argv[1])
