"""A team: the workers of a slice are the threads of one parallel region. They meet at barriers inside the region.

A barrier by counters in shared memory takes far less time than a new parallel region. A threading layer may start fewer
threads than requested, and a barrier would then wait for ever. So before any work all workers must be present.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastml.kernels.compile import calls
from fastml.kernels.compile.options import helper
from fastml.kernels.simd.atomics import (
    PAIR,
    address_of_yield,
    compare_exchange,
    fetch_add_one,
    pause,
    read_counter,
    write_counter,
    yield_core,
)
from fastml.kernels.simd.clock import address_of_clock, milliseconds

# Polls before a waiting thread yields its core: about 30 us.
POLLS = 500
# How long the present workers wait for missing ones. A yield may take a few milliseconds where other threads compute.
PATIENCE_MILLISECONDS = 40
# The value of the counter of present workers after some workers were missing.
MISSING = -1
# The cost of the beginning and end of a tile, in steps of its loop: a mispredicted branch, a load and a store.
TILE_OVERHEAD = 6


class Team(NamedTuple):
    """The counters of a team, and the addresses of the functions that yield a core and tell the time."""

    counters: NDArray[np.int64]  # (workers + 2, PAIR): barriers each worker has come to; workers present; items taken
    yield_address: int
    clock_address: int


class Worker(NamedTuple):
    """One worker of a team: its number, and how many workers there are."""

    team: Team
    number: int
    count: int


class Tiles(NamedTuple):
    """Some neighbouring tiles of a panel: groups of rows, or of features."""

    panel: int
    first: int
    last: int


def team_of(workers: int) -> Team:
    """Return a team of a number of workers."""
    return Team(np.zeros((workers + 2, PAIR), np.int64), address_of_yield(), address_of_clock())


def run_team(work: Callable, team: Team, workers: int, arguments: tuple) -> None:
    """Run work(*arguments, number, workers) for each worker, or for one alone if not all workers come together.

    Once some were missing, the team has one worker for good: it does not wait for the others again.
    """
    present = team.counters[-2]
    if workers > 1 and present[0] != MISSING:
        team.counters[...] = 0
        calls.run(work, workers, arguments)
        if present[0] == workers:
            return
    team.counters[...] = 0
    calls.run(work, 1, arguments)
    if workers > 1:
        present[0] = MISSING


@helper
def wait(team, polls):
    """Wait for a moment after a number of polls; return the number with the next poll."""
    if polls < POLLS:
        pause()
    else:
        yield_core(team.yield_address)
    return polls + 1


@helper
def assemble(worker):
    """Return whether all workers are present. All workers get the same answer; if the answer is no, none may work."""
    counters, clock = worker.team.counters, worker.team.clock_address
    present, polls, began = counters.shape[0] - 2, 0, 0
    count = read_counter(counters, present)
    while count >= 0:
        before = compare_exchange(counters, present, count, count + 1)
        if before == count:
            count += 1
            break
        count = before
    while 0 <= count < worker.count:
        polls = wait(worker.team, polls)
        if polls == POLLS:
            began = milliseconds(clock)
        elif polls > POLLS and milliseconds(clock) - began >= PATIENCE_MILLISECONDS:
            compare_exchange(counters, present, count, MISSING)
        count = read_counter(counters, present)
    return count == worker.count


@helper
def meet(worker):
    """Wait until all workers have come to this barrier. All that they wrote before is visible afterwards."""
    if worker.count > 1:
        counters = worker.team.counters
        count = counters[worker.number, 0] + 1
        write_counter(counters, worker.number, count)
        for other in range(worker.count):
            polls = 0
            while read_counter(counters, other) < count:
                polls = wait(worker.team, polls)


@helper
def take(worker):
    """Return the number of the next item of work, which belongs to the caller alone."""
    return fetch_add_one(worker.team.counters, worker.team.counters.shape[0] - 1)


@helper
def shares_panels(worker, panels):
    """Return whether some panel belongs to several workers: then they meet before and after its weights change."""
    return panels % worker.count != 0


@helper
def own_panels(worker, panels):
    """Return the first of the panels that a worker has tiles of, and the end of them."""
    return worker.number * panels // worker.count, ((worker.number + 1) * panels + worker.count - 1) // worker.count


@helper
def own_tiles(worker, panel, panels, steps, size):
    """Return a worker's tiles of a panel of size tiles; steps (tiles,) is the work of each tile.

    The workers have equal shares of all panels in a row. So a panel has one owner where the number of workers divides
    that of panels. Elsewhere a tile belongs to the worker in whose share the middle of the tile lies.
    """
    low = max(worker.number * panels - panel * worker.count, 0)
    high = min((worker.number + 1) * panels - panel * worker.count, worker.count)
    if low == 0 and high == worker.count:
        return Tiles(panel, 0, size)
    total, done, first, last = 0, 0, 0, 0
    for g in range(size):
        total += steps[g] + TILE_OVERHEAD
    for g in range(size):
        middle = (2 * done + steps[g] + TILE_OVERHEAD) * worker.count
        first = g + 1 if middle < 2 * low * total else first
        last = g + 1 if middle < 2 * high * total else last
        done += steps[g] + TILE_OVERHEAD
    return Tiles(panel, first, last)


@helper
def owns_first(tiles):
    """Return whether the first tile of a panel is among a worker's tiles."""
    return tiles.first == 0 and tiles.last > 0


@helper
def share(size, number, count):
    """Return the first and the end of a worker's part of range(size); the parts are nearly equal and in order."""
    return size * number // count, size * (number + 1) // count
