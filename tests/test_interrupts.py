"""Interrupts at random moments: all that an epoch changes is as after one and the same batch."""

import os
import signal
import sys
from collections import deque

import numpy as np
import pytest

import fastml
from tests import bits
from tests.problems import EPOCHS, make_problem

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="has no interval timer"),
    pytest.mark.usefixtures("one_batch_a_slice"),
]
BATCHES, BATCH, SIGNALS = 4, 25, 2000


class Interrupter:
    """Raises KeyboardInterrupt in the main thread after a delay, and then again and again, while a call runs."""

    def __init__(self):
        self.armed, self.sent = False, 0

    def handle(self, *_):
        if self.armed:
            self.sent += 1
            raise KeyboardInterrupt

    def run(self, delay, interval, call):
        """Run a call; return whether it was interrupted."""
        done = False
        try:
            self.armed = True
            signal.setitimer(signal.ITIMER_REAL, delay, interval)
            call()
            done = True
        except KeyboardInterrupt:
            pass
        while self.armed:
            try:
                self.armed = False
            except KeyboardInterrupt:
                continue
        signal.setitimer(signal.ITIMER_REAL, 0)
        return not done


@pytest.fixture
def interrupter(monkeypatch):
    # Python cannot raise an interrupt in a destructor: it hands the exception to this hook. pytest's hook is Python
    # code, which may itself be interrupted; a compiled function is not.
    monkeypatch.setattr(sys, "unraisablehook", deque(maxlen=0).append)
    interrupter = Interrupter()
    previous = signal.signal(signal.SIGALRM, interrupter.handle)
    yield interrupter
    signal.signal(signal.SIGALRM, previous)


def everything(arrays, optimizer):
    """Return the digest of weights, biases, state and number of steps; a state that is not there yet is zero."""
    states = [
        optimizer.state.get(name, {}).get(key, np.zeros_like(W))
        for name, W in sorted(arrays.items())
        for key in optimizer.state_names
    ]
    return bits.digest([*(W for _, W in sorted(arrays.items())), *states, optimizer.steps])


@pytest.mark.parametrize(("input_dim", "hidden_dim"), [(784, 400), (64, 4000)])
def test_an_epoch_ends_after_one_batch_whenever_signals_come(interrupter, input_dim, hidden_dim):
    problem = make_problem(BATCHES * BATCH, input_dim, hidden_dim, 5, batch=BATCH, lr=0.1)
    W1, W2 = problem.weights("nn", "float32")
    start = {"W1": W1, "W2": W2, "b1": np.zeros(hidden_dim, np.float32), "b2": np.zeros(5, np.float32)}
    epoch = EPOCHS["nn"][0]
    expected, arrays, state = set(), {name: W.copy() for name, W in start.items()}, fastml.Momentum()
    expected.add(everything(arrays, state))
    for first in range(0, BATCHES * BATCH, BATCH):
        X, y = problem.X[first : first + BATCH], problem.y[first : first + BATCH]
        epoch(X, y, **arrays, **problem.settings, optimizer=state)
        expected.add(everything(arrays, state))
    assert len(expected) == BATCHES + 1

    random, found, seconds = np.random.default_rng(0), set(), 0.01
    while interrupter.sent < SIGNALS:
        for name, W in start.items():
            arrays[name][...] = W
        state = fastml.Momentum()

        def call(state=state):
            epoch(problem.X, problem.y, **arrays, **problem.settings, optimizer=state)

        # The longest delay stays near the length of a call.
        if interrupter.run(random.uniform(1e-5, seconds), random.uniform(2e-5, 2e-3), call):
            seconds *= 1.02
        else:
            seconds /= 1.02
        digest = everything(arrays, state)
        assert digest in expected
        found.add(digest)
    assert len(found) >= 3
