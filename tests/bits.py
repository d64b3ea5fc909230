"""Both models as digests of their bits, at shapes that leave remainders everywhere; and Python in other processes."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
from numba.core import event

import fastml
from fastml.kernels.compile import forks
from fastml.kernels.network import Network
from fastml.kernels.network_many_classes import NetworkManyClasses
from fastml.kernels.softmax_many_classes import SoftmaxManyClasses
from fastml.kernels.softmax_regression import SoftmaxRegression
from tests.problems import EPOCHS, make_problem

ROOT = Path(__file__).parents[1]
TIMEOUT_SECONDS = 120
KERNELS = (Network, NetworkManyClasses, SoftmaxRegression, SoftmaxManyClasses)
# Model, inputs, hidden units, classes, rows, rows of a batch. With 800 and 80 inputs X is read where it lies, with 1603
# and 83 it is packed and padded. A batch of more than 128 rows goes through in blocks. Softmax regression with few
# classes cuts features into parts of at least 24 vectors: 800 floats have two, 1600 four. 20 hidden units are one
# panel, 131 two or four, 300 six: so a panel has one owner, or several. So it is with classes, where there are many.
SHAPES = (
    ("softmax", 800, 0, 7, 103, 17),
    ("softmax", 1603, 0, 7, 703, 301),
    ("softmax", 83, 0, 101, 103, 17),
    ("softmax", 80, 0, 300, 403, 301),
    ("nn", 83, 131, 7, 103, 17),
    ("nn", 80, 131, 7, 703, 301),
    ("nn", 1104, 300, 7, 303, 151),
    ("nn", 83, 20, 7, 103, 17),
    ("nn", 80, 20, 7, 703, 301),
    ("nn", 83, 131, 101, 203, 151),
    ("nn", 80, 20, 300, 103, 17),
    ("nn", 1104, 300, 60, 303, 301),
)


def start_python(*arguments, directory=ROOT, **environment):
    """Start Python in another process; environment holds what is added to this one's."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=directory,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end_python(process, timeout=TIMEOUT_SECONDS):
    """Wait for a process and return its status, output and errors; one that does not end is killed and fails."""
    try:
        output, errors = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return process.returncode, output, errors


def run_python(*arguments, directory=ROOT, **environment):
    """Run Python in another process, which must succeed, and return its output."""
    status, output, errors = end_python(start_python(*arguments, directory=directory, **environment))
    assert status == 0, f"status {status}\n{output}{errors}"
    return output


class Compilations(event.Listener):
    """Remembers what is compiled from now on; what comes from the cache is not."""

    def __init__(self):
        self.names = []

    def on_start(self, event):
        self.names.append(event.data["dispatcher"].__name__)

    def on_end(self, event):
        pass


def share_every_batch(shared):
    """Give every batch to all threads, however small it is, and append their number to shared at each call."""

    def sharing(run):
        def run_shared(*arguments):
            *before, _ = arguments
            shared.append(forks.available_threads())
            run(*before, shared[-1])

        return run_shared

    for kernels in KERNELS:
        kernels.learn, kernels.judge = sharing(kernels.learn), sharing(kernels.judge)


def digest(arrays):
    """Return the SHA-256 of the bytes of arrays."""
    return hashlib.sha256(b"".join(np.asarray(array).tobytes() for array in arrays)).hexdigest()


def digests(disturb=None):
    """Return the digests of weights after three epochs, losses, errors and predictions; disturb changes a problem."""
    found = {}
    for shape in SHAPES:
        for x_dtype in ("uint8", "float32"):
            model, input_dim, hidden_dim, classes, rows, batch = shape
            problem = make_problem(rows, input_dim, max(hidden_dim, 1), classes, batch, dtype=x_dtype, seed=3)
            if disturb is not None:
                disturb(problem)
            found[f"{shape}, rows of {x_dtype}, with options"] = digest(results_with_options(model, problem))
    for model, input_dim, hidden_dim, classes, rows, batch in SHAPES:
        for dtype in ("float32", "float64"):
            for x_dtype in ("uint8", "float32"):
                problem = make_problem(rows, input_dim, max(hidden_dim, 1), classes, batch, dtype=x_dtype, seed=3)
                if disturb is not None:
                    disturb(problem)
                weights = problem.weights(model, dtype)
                for _ in range(3):
                    EPOCHS[model][0](problem.X, problem.y, *weights, **problem.settings)
                scale = problem.settings["scale"]
                results = (
                    *weights,
                    fastml.evaluate(problem.X, problem.y, *weights, scale=scale),
                    fastml.predict(problem.X, *weights, scale=scale),
                    fastml.predict_proba(problem.X, *weights, scale=scale),
                )
                name = f"{model} {input_dim}-{hidden_dim}-{classes}, {rows} rows of {x_dtype}, weights of {dtype}"
                found[name] = digest(results)
    return found


def results_with_options(model, problem):
    """Return weights, biases, state and probabilities after two epochs with every option, by AdamW in float32."""
    random = np.random.default_rng(4)
    rows, input_dim = problem.X.shape
    transform = {"scale": random.uniform(0.01, 0.02, input_dim), "shift": random.uniform(0, 1, input_dim)}
    weights, optimizer = problem.weights(model, "float32"), fastml.AdamW(decay=0.01)
    names = ("bias",) if model == "softmax" else ("b1", "b2")
    biases = {name: np.zeros(W.shape[1], np.float32) for name, W in zip(names, weights, strict=True)}
    settings = {**problem.settings, **transform, "lr": 0.01, "last_batch": "mean", "sample_weight": random.random(rows)}
    for _ in range(2):
        EPOCHS[model][0](problem.X, problem.y, *weights, **biases, **settings, optimizer=optimizer)
    states = [array for state in optimizer.state.values() for array in state.values()]
    probabilities = fastml.predict_proba(problem.X, *weights, **biases, **transform)
    return *weights, *biases.values(), *states, probabilities


def main():
    """Print the digests, what they were computed with, and what had to be compiled, as JSON."""
    shared, compilations = [], Compilations()
    share_every_batch(shared)
    with event.install_listener("numba:compile", compilations):
        found = digests()
    print(
        json.dumps(
            {
                "digests": found,
                "layer": numba.threading_layer(),
                "workers": sorted(set(shared)),
                "compiled": compilations.names,
            }
        )
    )


if __name__ == "__main__":
    main()
