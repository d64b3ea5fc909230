"""Workers that meet: all or one alone, no item of work twice, and one owner for each tile."""

import ctypes
import itertools

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastml.kernels import team
from fastml.kernels.compile import calls
from fastml.kernels.compile.options import worker_kernel
from fastml.kernels.simd.atomics import PAIR
from fastml.kernels.simd.clock import IS_WINDOWS
from tests.compiled import compiled

share, own_panels, own_tiles, owns_first, shares_panels = map(
    compiled, (team.share, team.own_panels, team.own_tiles, team.owns_first, team.shares_panels)
)
WORKERS = numba.config.NUMBA_NUM_THREADS

pytestmark = pytest.mark.usefixtures("own_run_workers")


@worker_kernel
def count_off(together, steps, seen, taken, number, workers):
    """In each step write a number, meet, and add up what all workers have written; then take items of work."""
    worker = team.Worker(together, number, workers)
    if not team.assemble(worker):
        return
    for step in range(1, steps + 1):
        seen[step % 2, number, 0] = step
        team.meet(worker)
        for other in range(workers):
            seen[2, number, 0] += seen[step % 2, other, 0]
    item = team.take(worker)
    while item < taken.size:
        taken[item] += 1
        item = team.take(worker)


def run_count_off(workers, steps=1000):
    together = team.team_of(workers)
    seen, taken = np.zeros((3, workers, PAIR), np.int64), np.zeros(500, np.int64)
    team.run_team(count_off, together, workers, (together, steps, seen, taken))
    assert (taken == 1).all()
    return seen[2, :, 0], steps * (steps + 1) // 2


def test_workers_see_what_all_have_written_before_they_meet():
    numba.set_num_threads(WORKERS)
    # A thread may come too late, where other processes have its core: then one does the work alone, as it should.
    for _ in range(100):
        sums, steps = run_count_off(WORKERS)
        if sums.tolist() == [WORKERS * steps] * WORKERS:
            return
        assert sums.tolist() == [steps] + [0] * (WORKERS - 1)
    pytest.fail("the workers never came together")


def test_where_not_all_come_one_does_the_work_alone():
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        sums, steps = run_count_off(3)
    finally:
        numba.set_num_threads(before)
    assert sums.tolist() == [steps, 0, 0]


def test_where_some_did_not_come_none_is_waited_for_again(monkeypatch):
    tried, run = [], calls.run
    monkeypatch.setattr(calls, "run", lambda work, workers, *rest: (tried.append(workers), run(work, workers, *rest)))
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    together, work = team.team_of(3), (np.zeros((3, 3, PAIR), np.int64), np.zeros(500, np.int64))
    try:
        for _ in range(3):
            team.run_team(count_off, together, 3, (together, 10, *work))
    finally:
        numba.set_num_threads(before)
    assert tried == [3, 1, 1, 1]
    assert (work[1] == 3).all()


@pytest.mark.skipif(IS_WINDOWS, reason="has a clock of POSIX")
@pytest.mark.parametrize(("step", "yields"), [(1, 40), (10, 4), (4000, 1)])
def test_workers_are_waited_for_for_a_time_however_often_a_core_is_yielded(step, yields):
    moments, yielded = itertools.count(5_000_000, step), []

    class Moment(ctypes.Structure):
        _fields_ = (("seconds", ctypes.c_ssize_t), ("nanoseconds", ctypes.c_ssize_t))

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.POINTER(Moment))
    def clock(_, moment):
        milliseconds = next(moments)
        moment.contents.seconds, moment.contents.nanoseconds = milliseconds // 1000, milliseconds % 1000 * 1_000_000
        return 0

    @ctypes.CFUNCTYPE(ctypes.c_int)
    def yield_core():
        yielded.append(True)
        return 0

    addresses = [ctypes.cast(function, ctypes.c_void_p).value for function in (yield_core, clock)]
    together = team.Team(np.zeros((4, PAIR), np.int64), *addresses)
    assert not compiled(team.assemble)(team.Worker(together, 0, 2))
    assert together.counters[-2, 0] == team.MISSING
    assert len(yielded) == yields


def as_worker(number, count):
    return team.Worker(team.team_of(1), number, count)


PROPERTY = settings(max_examples=200, deadline=None, derandomize=True)


@PROPERTY
@given(size=st.integers(0, 10**6), workers=st.integers(1, 300))
def test_shares_are_parts_of_one_line(size, workers):
    parts = [share(size, number, workers) for number in range(workers)]
    assert parts[0][0] == 0
    assert parts[-1][1] == size
    assert all(a[1] == b[0] for a, b in itertools.pairwise(parts))
    assert {last - first for first, last in parts} <= {size // workers, size // workers + 1}


@PROPERTY
@given(
    panels=st.integers(1, 30), listed=st.lists(st.integers(0, 784), min_size=1, max_size=40), workers=st.integers(1, 40)
)
def test_every_tile_has_one_owner(panels, listed, workers):
    steps = np.array(listed)
    owned = []
    for number in range(workers):
        worker, tiles = as_worker(number, workers), []
        begin, end = own_panels(worker, panels)
        for panel in range(panels):
            found = own_tiles(worker, panel, panels, np.append(steps, 10**6), len(steps))
            tiles += [(panel, g) for g in range(found.first, found.last)]
            # A worker looks for its tiles in its panels alone.
            assert found.first >= found.last or begin <= panel < end
        owned.append(tiles)
        if panels % workers == 0:
            assert len(tiles) == (end - begin) * len(steps)
            assert not shares_panels(worker, panels)
    assert list(itertools.chain(*owned)) == list(itertools.product(range(panels), range(len(steps))))
    # No worker has more than an equal share of the work and what of two tiles reaches over its ends.
    work = [sum(listed[g] + team.TILE_OVERHEAD for _, g in tiles) for tiles in owned]
    assert max(work) <= sum(work) / workers + 2 * (max(listed) + team.TILE_OVERHEAD)
    owners = [tiles[0][0] for tiles in owned if tiles and tiles[0][1] == 0]
    assert owners == sorted(set(owners))


@pytest.mark.parametrize(("tiles", "expected"), [((2, 0, 3), True), ((2, 1, 3), False), ((2, 0, 0), False)])
def test_one_worker_owns_the_first_tile_of_a_panel(tiles, expected):
    assert owns_first(team.Tiles(*tiles)) == expected
