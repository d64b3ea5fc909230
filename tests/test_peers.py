"""Every peer that is installed runs the same epochs as the reference, and what differs is seen."""

import dataclasses
import importlib
import warnings

import numpy as np
import pytest
from side_by_side import TOLERANCE, Work
from suites.problems import start_weights

from tests import reference

PEERS = ["fastml.Fastml", "numpy.NumPy", "cplusplus.Optimised", "cplusplus.Native"]
PEERS += [
    "numba_loops.PlainLoops",
    "torch.ByHand",
    "torch.Autograd",
    "torch.Compiled",
    "jax.Jax",
    "scikit_learn.ScikitLearn",
]
ROWS, INPUT_DIM, NUM_CLASSES, BATCH = 27, 20, 3, 10


@pytest.fixture(params=PEERS)
def peer(request):
    module, name = request.param.split(".")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # what others warn of when they are imported is theirs
            return getattr(importlib.import_module(f"implementations.{module}"), name)
    except ImportError as error:
        pytest.skip(str(error))


def make_work(dtype, *hidden_dim, **settings):
    generator = np.random.default_rng(0)
    X, y = generator.random((ROWS, INPUT_DIM)).astype(dtype), generator.integers(NUM_CLASSES, size=ROWS, dtype=np.uint8)
    return Work(X, y, start_weights(INPUT_DIM, *hidden_dim, NUM_CLASSES, dtype=X.dtype), None, 0.1, BATCH, **settings)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("hidden_dim", [(), (16,)])
def test_epoch_is_that_of_the_reference(peer, dtype, hidden_dim):
    work = make_work(dtype, *hidden_dim)
    # Biases make another model of all steps but the first.
    rows = slice(BATCH if peer.has_biases else ROWS)
    expected = [W.copy() for W in work.start]
    epoch = reference.nn_epoch if hidden_dim else reference.softmax_regression_epoch
    epoch(work.X[rows], work.y[rows], *expected, lr=work.lr, batch=work.batch)
    side = work.side(peer, rows.stop)
    for _ in range(2):  # each run starts anew
        _, changes = work.run(side)
        for change, W, start in zip(changes, expected, work.start, strict=True):
            np.testing.assert_allclose(change, W - start, rtol=0, atol=1e-5 if dtype == np.float32 else 1e-12)


class AdamWOfPyTorch(reference.AdamW):
    """Epsilon is added behind the correction of the square."""

    def change(self, name, W, gradient, lr):
        epsilon, self.epsilon = self.epsilon, self.epsilon * np.sqrt(1 - self.beta2**self.t)
        super().change(name, W, gradient, lr)
        self.epsilon = epsilon


@pytest.mark.parametrize("optimizer", ["nesterov", "adamw"])
def test_optimizers_are_those_of_the_reference(peer, optimizer):
    if optimizer not in peer.optimizers:
        pytest.skip(f"{peer.name} has none")
    work = make_work(np.float64, 16, optimizer=optimizer)
    expected = [W.copy() for W in work.start]
    adamw = AdamWOfPyTorch if peer.__module__.endswith("torch") else reference.AdamW
    state = reference.Momentum() if optimizer == "nesterov" else adamw(decay=0.1)
    reference.nn_epoch(work.X, work.y, *expected, lr=work.lr, batch=work.batch, optimizer=state)
    side = work.side(peer)
    for _ in range(2):  # each run starts anew, with a new state
        for change, W, start in zip(work.run(side)[1], expected, work.start, strict=True):
            np.testing.assert_allclose(change, W - start, rtol=0, atol=1e-7)


def test_evaluation_is_that_of_the_reference(peer):
    if not peer.evaluate:
        pytest.skip(f"{peer.name} has none")
    work = make_work(np.float32, 16, evaluation=True)
    W1, W2 = work.start
    expected = reference.loss_err(np.maximum(work.X @ W1, 0) @ W2, work.y)
    np.testing.assert_allclose(work.run(work.side(peer))[1], expected, rtol=1e-5)


def test_cases_of_many_classes_agree_and_have_peers_that_can_tell_them_apart():
    modules = ("peers", "cases", "implementations.fastml", "implementations.numpy")
    peers, cases, ours, numpy = map(importlib.import_module, modules)

    class Bytes(numpy.NumPy):
        most_classes = 256

    found = [ours.Fastml, numpy.NumPy, Bytes]
    many = [case for case in cases.CASES if case.num_classes != 10]
    assert {case.num_classes for case in many} == {100, 1000}
    for case in many:
        assert (Bytes in peers.peers_of(case, found)) == (case.num_classes == 100)
        work = case.work(600)
        assert case.operations(600) >= 4 * work.X.size * work.start[0].shape[1]
        assert work.difference(work.side(ours.Fastml), work.side(numpy.NumPy)) <= TOLERANCE


def test_another_step_size_is_a_difference():
    numpy = importlib.import_module("implementations.numpy").NumPy
    work = make_work(np.float32, 16)
    side, other = work.side(numpy), work.side(numpy)
    assert work.difference(side, other) == 0
    side.lr *= 1.01
    assert work.difference(side, other) > TOLERANCE


@pytest.mark.parametrize("is_ours", [False, True])
def test_a_peer_that_differs_is_left_out_and_fastml_ends_the_run(is_ours, monkeypatch):
    modules = ("peers", "cases", "implementations.fastml", "implementations.numpy")
    peers, cases, ours, numpy = map(importlib.import_module, modules)

    class Steeper(ours.Fastml if is_ours else numpy.NumPy):
        name = "steeper"

        def __init__(self, X, y, start, lr, batch):
            super().__init__(X, y, start, 1.01 * lr, batch)

    monkeypatch.setattr(peers, "peak_memory", lambda *_: 0)
    found = [ours.Fastml, numpy.NumPy, Steeper]
    if is_ours:
        monkeypatch.setattr(peers, "Fastml", Steeper)
        found.pop(0)
    case = next(case for case in cases.CASES if case.name == "softmax")
    if is_ours:
        with pytest.raises(SystemExit, match="fastml and NumPy differ"):
            peers.run_case(case, found, 200, 1, 1)
    else:
        figures = peers.run_case(case, found, 200, 1, 1)
        assert list(figures["peers"]) == ["fastml", "NumPy"]
        assert figures["differing"]["steeper"] > TOLERANCE


def test_peak_memory_is_that_of_a_process_of_its_own():
    module = importlib.import_module("peak_memory")
    if not module.STATUS.exists():
        pytest.skip("the system doesn't keep it")
    numpy = importlib.import_module("implementations.numpy").NumPy
    few = make_work(np.float32)
    X, y = np.ones((1_000_000, INPUT_DIM), np.float32), np.zeros(1_000_000, np.uint8)
    many = dataclasses.replace(few, X=X, y=y, batch=10_000)
    small, large = (module.peak_memory(numpy, work.X, work) for work in (few, many))
    # This process, in which Numba is loaded, has more.
    assert 5e6 < small < 100e6
    assert X.nbytes < large - small < 2 * X.nbytes
