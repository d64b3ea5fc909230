"""Workers that meet: all or one alone, nothing of the work twice, shares by what each takes for his."""

import itertools

import numba
import numpy as np
import pytest

from fastml.kernels import team
from fastml.kernels.jit import apart
from tests.compiled import compiled

balance, own_share = map(compiled, (team.balance, team.own_share))
WORKERS = numba.config.NUMBA_NUM_THREADS

pytestmark = pytest.mark.usefixtures("own_run_workers")


@apart
def count_off(together, steps, seen, taken, worker, workers):
    """In each step write a number of its own, meet, and add up what all have written; then take what there is."""
    if not team.assemble(together, workers):
        return
    for step in range(1, steps + 1):
        seen[step % 2, worker, 0] = step
        team.meet(together, worker, workers)
        for other in range(workers):
            seen[2, worker, 0] += seen[step % 2, other, 0]
    number = team.take(together)
    while number < taken.size:
        taken[number] += 1
        number = team.take(together)


def run_count_off(workers, steps=1000):
    together = team.team_of(workers)
    seen, taken = np.zeros((3, workers, team.PAIR), np.int64), np.zeros(500, np.int64)
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


@pytest.mark.parametrize("workers", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("size", [0, 1, 7, 10**12])
def test_shares_cover_all_of_it_once(workers, size):
    together = team.team_of(workers)
    random = np.random.default_rng(workers)
    for turn in range(50):
        pieces = [own_share(together, turn, size, worker, workers) for worker in range(workers)]
        assert pieces[0][0] == 0
        assert pieces[-1][1] == size
        assert all(first[1] == second[0] for first, second in itertools.pairwise(pieces))
        assert all(first <= last for first, last in pieces)
        together.times[turn % 2, :, 0] = random.integers(0, 10**10, workers)
        balance(together.times[turn % 2], together.bounds[turn % 2])


def test_shares_follow_how_fast_workers_are():
    together, speeds = team.team_of(3), np.array([1.0, 2.0, 0.5])
    for _ in range(50):
        shares = np.diff(together.bounds[0])
        together.times[0, :, 0] = shares / speeds
        balance(together.times[0], together.bounds[0])
    np.testing.assert_allclose(np.diff(together.bounds[0]) / team.WHOLE, speeds / speeds.sum(), rtol=1e-3)
    assert np.ptp(np.diff(together.bounds[1])) <= 1


def test_who_was_away_comes_back():
    together = team.team_of(2)
    for times in ([1000, 10], [10, 10], [10, 1000]):
        for _ in range(200):
            together.times[0, :, 0] = times
            balance(together.times[0], together.bounds[0])
        shares = np.diff(together.bounds[0])
        assert shares.min() > 0
        assert (shares[0] < shares[1]) == (times[0] >= times[1])


def test_without_a_clock_shares_stay_equal():
    together = team.team_of(3)
    before = together.bounds.copy()
    balance(together.times[0], together.bounds[0])
    np.testing.assert_allclose(together.bounds, before, atol=1)
