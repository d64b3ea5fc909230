"""A team: the workers of a slice, threads of one parallel region, which meet as often as they need to inside of it.

To begin and end a parallel region for each meeting takes 2.2 us with OpenMP and 180 us with workqueue; counters in
memory that all look at take 0.3 us, whatever the layer. A layer may give fewer threads than it was asked for, and then
workers that wait for each other would wait for ever: so before they work all must be there at the same time.
"""

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from fastml.kernels import calls, jit
from fastml.kernels.jit import helper
from fastml.kernels.simd import INT32, IS_X86, call, element

# Who waits looks so many times before it lets other threads have its core, each time it looks again: some 30 us.
LOOKS = 500
# How often who is there lets others have its core until it gives up on those who are not: some 10 ms.
PATIENCE = 10_000
# What a worker counts lies in a pair of cache lines of its own.
PAIR = 16

# Bounds of shares are integers, so that no rounding leaves anything between two workers.
WHOLE = 1 << 20
# A change of shares makes up for one in so many of the differences between workers' times, which have noise in them.
PATIENT = 4
# The smallest share is that part of an equal one.
SMALLEST = 64


class Team(NamedTuple):
    """What the workers of a team know of each other, and where the function is that lets other threads have a core.

    `counters`, (workers + 2, PAIR), are the meetings that each has come to, then how many workers are there, and how
    many pieces of work have been taken. `times`, (2, workers, PAIR), is how long each worked in the last turn of an
    even and of an odd number, `bounds`, (2, workers + 1), where shares begin in such turns, in units of 1 / WHOLE.
    """

    counters: NDArray[np.int64]
    times: NDArray[np.int64]
    bounds: NDArray[np.int64]
    give_way: int


def team_of(workers: int) -> Team:
    """Return a team of a number of workers, who have equal shares."""
    bounds = np.tile(np.arange(workers + 1) * WHOLE // workers, (2, 1))
    counters, times = np.zeros((workers + 2, PAIR), np.int64), np.zeros((2, workers, PAIR), np.int64)
    return Team(counters, times, bounds, address_of_give_way())


@cache
def address_of_give_way() -> int:
    """Return where the operating system's function is that lets other threads have this one's core."""
    if sys.platform == "win32":
        function = ctypes.WinDLL("kernel32").SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    return ctypes.cast(function, ctypes.c_void_p).value


def pointer_to(context, builder, counters, value, row):
    """Return the pointer to counters[row, 0]."""
    return element(context, builder, counters, value, row, ir.Constant(row.type, 0))


@intrinsic
def look(typingctx, counters, row):
    """Return counters[row, 0]; what its writer wrote before is there too."""

    def codegen(context, builder, sig, args):
        return builder.load_atomic(pointer_to(context, builder, counters, *args), "seq_cst", 8)

    return types.int64(counters, types.intp), codegen


@intrinsic
def show(typingctx, counters, row, count):
    """Write counters[row, 0], after all that was written before."""

    def codegen(context, builder, sig, args):
        counters_, row_, count_ = args
        builder.store_atomic(count_, pointer_to(context, builder, counters, counters_, row_), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(counters, types.intp, types.int64), codegen


@intrinsic
def replace(typingctx, counters, row, old, new):
    """Write new to counters[row, 0] if old is there, in one step; return what was there."""

    def codegen(context, builder, sig, args):
        counters_, row_, old_, new_ = args
        pointer = pointer_to(context, builder, counters, counters_, row_)
        return builder.extract_value(builder.cmpxchg(pointer, old_, new_, "seq_cst", "seq_cst"), 0)

    return types.int64(counters, types.intp, types.int64, types.int64), codegen


@intrinsic
def take_one(typingctx, counters, row):
    """Return counters[row, 0] and add 1 to it, in one step."""

    def codegen(context, builder, sig, args):
        pointer = pointer_to(context, builder, counters, *args)
        return builder.atomic_rmw("add", pointer, ir.Constant(ir.IntType(64), 1), "seq_cst")

    return types.int64(counters, types.intp), codegen


@intrinsic
def pause(typingctx):
    """Tell the CPU that this thread does nothing but wait."""

    def codegen(context, builder, sig, args):
        if IS_X86:
            call(builder, "x86.sse2.pause", ir.VoidType())
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def now(typingctx):
    """Return the time, in a unit that doesn't change; 0 on a CPU that doesn't tell."""
    # LLVM's steady counter is always 0 on an x86, whose counter of cycles is steady; on an ARM that one is not for all.
    name = "readcyclecounter" if IS_X86 else "readsteadycounter"
    return types.int64(), lambda context, builder, sig, args: call(builder, name, ir.IntType(64))


@intrinsic
def call_give_way(typingctx, address):
    """Call the function at an address, without arguments."""

    def codegen(context, builder, sig, args):
        builder.call(builder.inttoptr(args[0], ir.FunctionType(INT32, []).as_pointer()), [])
        return context.get_dummy_value()

    return types.void(types.intp), codegen


@helper
def wait(team, looks):
    """Wait a moment, after a number of looks; return the number after the next."""
    if looks < LOOKS:
        pause()
    else:
        call_give_way(team.give_way)
    return looks + 1


@helper
def assemble(team, workers):
    """Return whether all workers are there, the same for each of them; if not, nobody may work."""
    counters = team.counters
    there, looks = counters.shape[0] - 2, 0
    count = look(counters, there)
    while count >= 0:
        before = replace(counters, there, count, count + 1)
        if before == count:
            count += 1
            break
        count = before
    while 0 <= count < workers:
        looks = wait(team, looks)
        if looks == LOOKS + PATIENCE:
            replace(counters, there, count, -1)
            looks = 0
        count = look(counters, there)
    return count == workers


@helper
def take(team):
    """Return the number of the next piece of work, which is then the caller's."""
    return take_one(team.counters, team.counters.shape[0] - 1)


@helper
def meet(team, worker, workers):
    """Wait until all workers have come here as often as this one; what they wrote before is there then."""
    if workers == 1:
        return
    counters = team.counters
    count = counters[worker, 0] + 1
    show(counters, worker, count)
    for other in range(workers):
        looks = 0
        while look(counters, other) < count:
            looks = wait(team, looks)


@helper
def own_share(team, turn, size, worker, workers):
    """Return the first and the end of the piece of range(size) that is a worker's in this turn."""
    if workers == 1:
        return 0, size
    bounds = team.bounds[turn % 2]
    return size * bounds[worker] // WHOLE, size * bounds[worker + 1] // WHOLE


@helper
def balance(times, bounds):
    """Move the bounds of shares by what some workers took longer for theirs than others."""
    workers, total, size, end = times.shape[0], 1, 0, 0
    # A share of nothing would stay nothing.
    least = WHOLE // SMALLEST // workers
    for worker in range(workers):
        total += times[worker, 0]
    for worker in range(workers):
        size += max(bounds[worker + 1] - bounds[worker], least) * haste(times[worker, 0] * workers - total, total)
    begin = bounds[0]
    for worker in range(workers - 1):
        end += max(bounds[worker + 1] - begin, least) * haste(times[worker, 0] * workers - total, total)
        begin, bounds[worker + 1] = bounds[worker + 1], end * WHOLE // size


@helper
def haste(late, time):
    """Return, in units of 1 / WHOLE, what the share of a worker is multiplied by who was late by so much of a time."""
    return WHOLE - max(-time, min(time, late)) * (WHOLE // PATIENT) // time


@helper
def meet_balanced(team, turn, began, worker, workers):
    """End a turn that began at some time: meet, and share out the next but one so that all are ready at once.

    Cores are not equally fast, where other machines or processes use them too: with equal shares one worker waited for
    74 us in each batch of 280. What turns of even and odd number do differs, so each have shares of their own.
    """
    if workers > 1:
        team.times[turn % 2, worker, 0] = now() - began
        if worker == 0:
            # The others are through with the turn before this one, and not yet in the one after it.
            balance(team.times[1 - turn % 2], team.bounds[1 - turn % 2])
        meet(team, worker, workers)


def run_each(work: Callable, workers: int, arguments: tuple) -> None:
    """Run work(*arguments, worker, workers) for each worker; none waits for another, so some may be one thread."""
    with jit.parallel_lock:
        calls.run(work, workers, arguments)


def run_team(work: Callable, team: Team, workers: int, arguments: tuple) -> None:
    """Run work(*arguments, worker, workers) for each worker, or with one alone where not all come together."""
    team.counters[...] = 0
    calls.run(work, workers, arguments)
    if workers > 1 and team.counters[-2, 0] != workers:
        team.counters[...] = 0
        calls.run(work, 1, arguments)
