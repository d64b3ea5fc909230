"""Signals and forks at random moments of random calls, in processes with a cache of kernels and in others without.

`python -m tests.soak --signals --minutes 30` starts one process after the other. In each, calls of public functions are
disturbed: by SIGINT and SIGTERM, whose handlers raise; by SIGUSR1, whose handler calls the package; by forks, of a
handler or of another thread. After each, the weights are those of whole batches, the next call is right, and so are the
calls of handlers and children. The first process that fails, or does not end, ends the soak with what repeats it.
"""

import faulthandler
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np

import fastml
from fastml import slices
from fastml.datasets import deform
from fastml.datasets.convert import convert
from tests import bits
from tests.problems import EPOCHS, make_problem

# Set this to True where all weights of a model are written back in one step: then interrupted ones are checked, too.
WHOLE_BATCHES = True
WARM_ROUNDS, COLD_ROUNDS = 40, 3
# A cold call of a network takes about ten seconds, and several times as long where others compute.
COLD_SECONDS, TIMEOUT_SECONDS, CHILD_SECONDS = 10.0, 600, 120
KINDS = ("interrupt", "terminate", "call back", "fork in a handler", "fork in a thread")
SIGNALS = {"interrupt": signal.SIGINT, "terminate": signal.SIGTERM, "call back": signal.SIGUSR1}
REFUSAL = "fastml was called by a signal handler while Numba compiles"
PASSES, BATCH = 40, 50
PROBLEMS = {"nn": (500, 83, 131, 7), "softmax": (500, 83, 1, 7), "many classes": (500, 83, 1, 60)}


class Terminated(Exception):
    """Raised by the handler of SIGTERM."""


@cache
def problem_of(model):
    """Return the problem of a model, with an order of many batches."""
    problem = make_problem(*PROBLEMS[model], batch=BATCH, lr=1e-3)
    problem.settings["order"] = np.tile(np.arange(len(problem.X)), PASSES)
    return problem


def epoch_of(model):
    """Return the epoch function and fresh weights of a model."""
    name = "nn" if model == "nn" else "softmax"
    return EPOCHS[name][0], problem_of(model).weights(name, "float32")


@cache
def states(model):
    """Return the digests of the weights after each whole batch of an epoch."""
    problem, (epoch, weights) = problem_of(model), epoch_of(model)
    found, order = {bits.digest(weights)}, problem.settings["order"]
    for start in range(0, len(order), BATCH):
        epoch(problem.X, problem.y, *weights, **problem.settings | {"order": order[start : start + BATCH]})
        found.add(bits.digest(weights))
    return found


def train(model, left):
    """Run an epoch and return the digest of its weights; `left` is given the weights also if it is interrupted."""
    problem, (epoch, weights) = problem_of(model), epoch_of(model)
    left.append((model, weights))
    epoch(problem.X, problem.y, *weights, **problem.settings)
    return bits.digest(weights)


def convert_text():
    """Convert a text and return what was written."""
    with tempfile.TemporaryDirectory() as directory:
        source, *outputs = (Path(directory, name) for name in ("source", "images", "labels"))
        source.write_text("".join(f"{i % 10} {1 + i % 4}:{i % 256}\n" for i in range(20_000)))
        convert(source, *outputs, shape=(2, 2))
        return bits.digest([np.frombuffer(path.read_bytes(), np.uint8) for path in outputs])


def train_short():
    """Train for two epochs and return the digest of the weights."""
    problem = problem_of("nn")
    sets = problem.X, problem.y, problem.X, problem.y
    return bits.digest(fastml.train_nn(*sets, hidden_dim=40, epochs=2, verbose=False).weights)


def calls(left):
    """Return the calls by name; each returns a digest or numbers, the same in each process."""
    problem, (_, weights) = problem_of("nn"), epoch_of("nn")
    X, y = np.tile(problem.X, (20, 1)), np.tile(problem.y, 20)
    images = np.arange(3 * 28 * 28).astype(np.uint8).reshape(3, 28, 28)
    found = {model: lambda model=model: train(model, left) for model in PROBLEMS}
    return found | {
        "evaluate": lambda: list(fastml.evaluate(X, y, *weights)),
        "predict": lambda: bits.digest([fastml.predict(X, *weights)]),
        "predict_proba": lambda: bits.digest([fastml.predict_proba(X, *weights)]),
        "softmax_loss": lambda: fastml.softmax_loss(X, y),
        "loss_err": lambda: list(fastml.loss_err(X, y)),
        "deform": lambda: bits.digest([deform(images, np.arange(2000))]),
        "convert": convert_text,
        "train_nn": train_short,
    }


def expected_results():
    """Return what each call returns, and how many seconds it takes when its kernels are compiled."""
    found = {}
    for name, call in calls([]).items():
        call()
        began = time.perf_counter()
        found[name] = call(), time.perf_counter() - began
    return found


class Disturbed:
    """Calls that are disturbed: one process of the soak."""

    def __init__(self, seed, number, expected, only=None):
        self.random = np.random.default_rng([seed, number])
        self.expected = expected
        self.left = []  # models and weights of epochs
        self.calls = calls(self.left)
        self.names = sorted(self.calls) if only is None else [only]
        self.counts = Counter()
        self.children = []
        self.armed = False
        self.wrong = []  # a handler, or another thread, cannot end the process by an error
        signal.signal(signal.SIGINT, lambda *_: self.stop(KeyboardInterrupt))
        signal.signal(signal.SIGTERM, lambda *_: self.stop(Terminated))
        signal.signal(signal.SIGUSR1, lambda *_: self.call_back())
        signal.signal(signal.SIGUSR2, lambda *_: self.fork())

    def stop(self, error):
        """Raise an error if a call is being disturbed."""
        if self.armed:
            raise error

    def check(self, name):
        """Make a call and return whether its result is right; it may be refused where Numba compiles."""
        try:
            found = self.calls[name]()
        except RuntimeError as error:
            self.counts["refused"] += 1
            return str(error).startswith(REFUSAL)
        return found == self.expected[name][0]

    def call_back(self):
        """Make a call in a handler."""
        name = str(self.random.choice(self.names))
        self.counts["calls of handlers"] += 1
        if not self.check(name):
            self.wrong.append(f"{name} in a handler")

    def fork(self):
        """Fork; the child makes a call and ends."""
        name = str(self.random.choice(self.names))
        child = os.fork()
        if child == 0:
            self.armed = False
            # A child that hangs prints where, and ends. (A dump from a thread of its own may crash a child that runs.)
            faulthandler.register(signal.SIGALRM, chain=True)
            signal.alarm(CHILD_SECONDS)
            os._exit(0 if self.check(name) else 1)
        self.children.append((name, child))

    def disturb(self, kind, moments, ended):
        """Disturb the main thread at moments, in seconds from now; end when the call has ended."""
        for moment in moments:
            if ended.wait(moment):
                return
            self.counts[kind] += 1
            if kind == "fork in a thread":
                self.fork()
            else:
                os.kill(os.getpid(), SIGNALS.get(kind, signal.SIGUSR2))

    def play(self, seconds):
        """Make a call that is disturbed within some seconds, or within its usual time, and check what it left."""
        name, kind = str(self.random.choice(self.names)), str(self.random.choice(KINDS))
        count = int(self.random.choice([1, 1, 2, 4]))
        moments = self.random.uniform(0, (seconds or self.expected[name][1]) / count, count).tolist()
        ended, found, self.left[:] = threading.Event(), None, []
        disturber = threading.Thread(target=self.disturb, args=(kind, moments, ended))
        try:
            self.armed = True
            disturber.start()
            found = self.calls[name]()
            self.armed = False
        except (KeyboardInterrupt, Terminated):
            self.armed = False
            self.counts["interrupted calls"] += 1
        ended.set()
        disturber.join()
        assert found in (None, self.expected[name][0]), f"{name} gave a wrong result, disturbed by {kind}"
        if WHOLE_BATCHES:
            for model, weights in self.left:
                assert bits.digest(weights) in states(model), f"{name}, {kind}: no whole batches of {model}"
        following = str(self.random.choice(self.names))
        assert self.check(following), f"{following} after {name}, disturbed by {kind}"
        for child_name, child in self.children:
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert status == 0, f"{child_name} in a child ended with {status}, {name} disturbed by {kind}"
        self.children.clear()
        assert not self.wrong, f"{self.wrong}, at {name}"
        self.counts["calls"] += 2


def run_process(number, settings):
    """Run a process of the soak and return what it counted; end the soak if the process fails."""
    environment = {}
    with tempfile.TemporaryDirectory() as directory:
        if settings["cold"]:
            environment["NUMBA_CACHE_DIR"] = directory
        argument = json.dumps(settings | {"number": number})
        process = bits.start_python("-X", "faulthandler", "-m", "tests.signals", argument, **environment)
        try:
            status, output, errors = bits.end_python(process, TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            status, output, errors = "a timeout", "", ""
    if status != 0:
        repeat = f"python -m tests.soak --signals --minutes 0 --seed {settings['seed']} --first {number}"
        sys.exit(f"process {number} ended with {status}\n{output}{errors}\nrepeat it: {repeat}")
    return Counter(json.loads(output))


def soak(seed, first, minutes):
    """Run processes for a number of minutes, one at least; print what they counted."""
    expected, total, end = expected_results(), Counter(), time.monotonic() + 60 * minutes
    number = first
    while True:
        cold = number % 3 == 0
        rounds = COLD_ROUNDS if cold else WARM_ROUNDS
        total += run_process(number, {"seed": seed, "cold": cold, "rounds": rounds, "expected": expected})
        total["cold processes" if cold else "warm processes"] += 1
        print(", ".join(f"{count} {name}" for name, count in sorted(total.items())), flush=True)
        number += 1
        if time.monotonic() > end:
            return


def main(settings):
    """In a process of the soak: play the rounds and print what was counted."""
    # Slices of a few batches, so that signals find many moments between two of them.
    slices.SLICE_SECONDS, slices.FIRST_OPERATIONS = 0.002, 0
    disturbed = Disturbed(settings["seed"], settings["number"], settings["expected"], settings.get("only"))
    for played in range(settings["rounds"]):
        disturbed.play(COLD_SECONDS if settings["cold"] and played == 0 else None)
    print(json.dumps(disturbed.counts))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
