"""Slices by a clock that only the work moves: all rows in whole batches, by whoever is faster."""

from types import SimpleNamespace

import numpy as np
import pytest

from fastml import slices
from fastml.kernels import softmax_regression
from fastml.slices import Rows

BATCH, THREADS, MANY, FEW = 10, 4, 10**9, 10


class Machine:
    """Works through slices: a batch takes so many seconds, for each number of workers."""

    def __init__(self, seconds):
        self.now, self.seconds = 0.0, seconds

    def perf_counter(self):
        return self.now

    def wait(self, seconds):
        self.now += seconds

    def go_through(self, batches, operations=MANY, during=lambda: None, threads=THREADS, **settings):
        """Return (rows, workers, seconds) of each slice of a pass; something may happen during each."""
        rows = Rows(np.zeros((batches * BATCH - 3, 16), np.float32), None, np.dtype(np.float32), softmax_regression)
        done, end = [], 0
        for start, stop, workers in slices.slices(rows, BATCH, threads, operations, **settings):
            assert start == end
            seconds = self.seconds[workers] * (stop - start) / BATCH
            self.now += seconds
            during()
            done.append((stop - start, workers, seconds))
            end = stop
        assert end == rows.count
        assert all(count % BATCH == 0 for count, _, _ in done[:-1])
        return done


@pytest.fixture
def machine(monkeypatch):
    machine = Machine({1: 4e-4, THREADS: 1e-4})
    monkeypatch.setattr(slices, "time", SimpleNamespace(perf_counter=machine.perf_counter))
    slices.pace_of.cache_clear()
    yield machine
    slices.pace_of.cache_clear()


@pytest.mark.parametrize(("operations", "first"), [(MANY, THREADS), (FEW, 1)])
def test_a_pass_begins_with_a_batch_a_short_slice_and_trials(machine, operations, first):
    done = machine.go_through(2000, operations)
    assert [workers for _, workers, _ in done[:3]] == [first, first, THREADS if first == 1 else 1]
    assert done[0][0] == BATCH
    assert done[1][2] == pytest.approx(0.01, rel=0.1)
    assert done[2][2] <= 0.01
    # Where all threads were tried and faster, one alone is tried again.
    assert {workers for _, workers, _ in done[3 if first == THREADS else 4 :]} == {THREADS}
    assert max(seconds for _, _, seconds in done) == pytest.approx(0.05)


def test_a_first_batch_that_compiles_has_no_trials_in_a_short_pass(machine):
    waits = iter([12.0])
    done = machine.go_through(200, during=lambda: machine.wait(next(waits, 0.0)))
    assert {workers for _, workers, _ in done} == {THREADS}


def test_a_disturbed_slice_before_a_trial_changes_nothing(machine):
    machine.go_through(5000)
    machine.wait(60)
    waits = iter([0.5])
    done = machine.go_through(5000, during=lambda: machine.wait(next(waits, 0.0)))
    assert [workers for _, workers, _ in done[:3]] == [THREADS, 1, THREADS]
    assert max(seconds for _, _, seconds in done[:3]) <= 0.01
    assert {workers for _, workers, _ in done[3:]} == {THREADS}


def test_passes_shorter_than_a_slice_find_out_who_is_faster_too(machine):
    machine.seconds = {1: 1e-4, THREADS: 4e-4}
    done = []
    while machine.now < 2:
        done = machine.go_through(50)
    assert {workers for _, workers, _ in done} == {1}


def test_the_next_pass_of_the_kind_knows_what_this_one_found_out(machine):
    machine.go_through(2000)
    machine.wait(0.7)
    assert machine.go_through(2000)[0] == (500 * BATCH, THREADS, pytest.approx(0.05))
    # Not of other batches.
    assert machine.go_through(2000, operations=MANY + 1)[0][0] == BATCH


def test_a_short_pass_of_a_known_kind_is_one_slice_with_the_rest(machine):
    machine.go_through(100)
    assert [count for count, _, _ in machine.go_through(100)] == [100 * BATCH - 3]


@pytest.mark.parametrize(("batches", "numbers"), [(160, {1}), (200, {1, 3})])
def test_a_slice_goes_before_a_trial_only_where_there_is_room_for_both(machine, batches, numbers):
    machine.go_through(batches)
    # After 10 ms a trial of 2 has no room in the rest of 16 ms; of 20 ms it has, once there were passes enough.
    assert {len(machine.go_through(batches)) for _ in range(20)} == numbers


def test_after_a_second_the_fastest_is_tried_first(machine):
    machine.go_through(2000)
    machine.wait(60)
    machine.seconds = {1: 4e-3, THREADS: 1e-3}
    done = machine.go_through(2000)
    assert done[0] == (20 * BATCH, THREADS, pytest.approx(0.02))
    assert max(seconds for _, _, seconds in done) == pytest.approx(0.05)


@pytest.mark.parametrize("batches", [500, 100_000])
def test_who_has_become_slower_has_less_than_two_seconds_more(machine, batches):
    while machine.now < 3:
        machine.go_through(batches)
    machine.seconds[THREADS], changed, before = 1e-3, machine.now, 0.0
    while machine.now < changed + 5:
        before += sum(seconds for _, workers, seconds in machine.go_through(batches) if workers == THREADS)
    assert 0 < before < 2


def test_trials_take_little_of_the_time(machine):
    alone = sum(seconds for _ in range(1000) for _, workers, seconds in machine.go_through(500) if workers == 1)
    assert 0 < alone < 0.01 * machine.now


def test_a_pass_too_short_for_trials_has_none_and_no_disturbance_changes_that(machine):
    for number in range(1000):
        machine.seconds[THREADS] = 1e-2 if number % 10 == 5 else 1e-4
        assert {workers for _, workers, _ in machine.go_through(4)} == {THREADS}


@pytest.mark.parametrize(("alone", "chosen"), [(0.95e-4, THREADS), (0.85e-4, 1)])
def test_one_alone_must_be_faster_by_a_tenth(machine, alone, chosen):
    machine.seconds[1] = alone
    assert machine.go_through(20_000)[-2][1] == chosen


@pytest.mark.parametrize("seconds", [1e-4, 0.1, 2.0])
def test_a_pass_may_go_on_within_another_of_its_kind(machine, seconds):
    machine.seconds = {1: 4 * seconds, THREADS: seconds}
    inner = []
    done = machine.go_through(100, during=lambda: len(inner) < 5 and inner.append(machine.go_through(100)))
    assert inner
    assert sum(count for count, _, _ in done) == 100 * BATCH - 3
    assert {workers for _, workers, _ in done} <= {1, THREADS}


def test_slices_have_at_most_so_many_batches(machine):
    assert max(count for count, _, _ in machine.go_through(2000, most=64)) == 64 * BATCH


def test_one_thread_has_nobody_to_try(machine):
    done = machine.go_through(2000, threads=1)
    assert [count // BATCH for count, _, _ in done[:3]] == [1, 125, 125]


def test_a_batch_longer_than_a_slice_is_a_slice(machine):
    machine.seconds = {1: 2.0, THREADS: 1.0}
    assert {count for count, _, _ in machine.go_through(10)} == {BATCH, BATCH - 3}
