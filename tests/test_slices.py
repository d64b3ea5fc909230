"""Slices by a clock that only the work moves: all rows in whole batches, each slice about 50 ms long."""

from types import SimpleNamespace

import numpy as np
import pytest

from fastml import slices
from fastml.kernels.batches import SHORT_BATCH
from fastml.kernels.network import Network
from fastml.kernels.panels import MOST_VECTORS, Arrays, lanes
from fastml.kernels.softmax_regression import SoftmaxRegression
from fastml.slices import Rows
from fastml.transforms import transform_of

BATCH, THREADS, MANY, FEW = 10, 4, 10**8, 10


def few_classes():
    """Return kernels of 16 inputs and two classes."""
    return SoftmaxRegression((Arrays(np.zeros((16, 2), np.float32), None),), THREADS, packs=False)


def identity_of(X):
    """Return the transform that leaves X as it is."""
    return transform_of(X, 1.0, 0.0, np.float32, None)


class Machine:
    """Works through slices: a batch takes a number of seconds."""

    def __init__(self, seconds):
        self.now, self.seconds = 0.0, seconds

    def perf_counter(self):
        return self.now

    def go_through(self, batches, operations=MANY, during=lambda: None, **settings):
        """Return (rows, workers, seconds) of each slice of a pass; something may happen during each."""
        kernels, X = few_classes(), np.zeros((batches * BATCH - 3, 16), np.float32)
        rows = Rows(X, None, kernels, identity_of(X))
        done, end = [], 0
        for start, stop, workers in slices.slices(rows, BATCH, THREADS, operations, **settings):
            assert start == end
            began = self.now
            self.now += self.seconds * (stop - start) / BATCH
            during()
            done.append((stop - start, workers, self.now - began))
            end = stop
        assert end == rows.count
        assert all(count % BATCH == 0 for count, _, _ in done[:-1])
        return done


@pytest.fixture
def machine(monkeypatch):
    machine = Machine(1e-4)
    monkeypatch.setattr(slices, "time", SimpleNamespace(perf_counter=machine.perf_counter))
    return machine


@pytest.mark.parametrize(("operations", "workers"), [(MANY, THREADS), (FEW, 1)])
def test_small_batches_have_one_worker(machine, operations, workers):
    assert {found for _, found, _ in machine.go_through(2000, operations)} == {workers}


def test_slices_take_50_ms_from_the_second_on(machine):
    first, *others, last = machine.go_through(2000)
    assert first[0] == slices.FIRST_OPERATIONS // MANY
    assert [seconds for _, _, seconds in others] == pytest.approx([0.05] * len(others), rel=0.01)
    assert last[2] <= 0.05


def test_a_first_slice_that_compiles_is_followed_by_a_short_one(machine):
    waits = iter([12.0])

    def compile_once():
        machine.now += next(waits, 0.0)

    done = machine.go_through(2000, during=compile_once)
    assert done[1][0] == BATCH
    assert done[2][2] == pytest.approx(0.05, rel=0.01)


def test_a_short_pass_is_one_slice(machine):
    assert machine.go_through(50, operations=1000) == [(497, 1, pytest.approx(0.005, rel=0.01))]


def test_slices_have_at_most_so_many_batches(machine):
    assert max(count for count, _, _ in machine.go_through(2000, most=64)) == 64 * BATCH


def test_a_batch_longer_than_a_slice_is_a_slice(machine):
    machine.seconds = 1.0
    assert {count for count, _, _ in machine.go_through(40)[1:]} == {BATCH, BATCH - 3}


def test_converted_rows_fit_a_few_megabytes(machine):
    kernels, X = few_classes(), np.zeros((10**6, 16), np.int16)
    rows = Rows(X, None, kernels, identity_of(X))
    most = max(stop - start for start, stop, _ in slices.slices(rows, BATCH, THREADS, 1))
    assert most * 16 * 4 <= slices.CONVERTED_BYTES < (most + BATCH) * 16 * 4


@pytest.mark.parametrize(("batch", "workers"), [(SHORT_BATCH - 1, 2), (SHORT_BATCH, THREADS)])
def test_short_batches_have_no_more_workers_than_panels(batch, workers):
    two_panels = np.zeros((16, MOST_VECTORS * lanes(np.float32) + 1), np.float32)
    kernels = Network((Arrays(two_panels, None), Arrays(np.zeros((two_panels.shape[1], 2), np.float32), None)), THREADS)
    assert kernels.workers_for(batch) == workers
    assert few_classes().workers_for(batch) == THREADS
