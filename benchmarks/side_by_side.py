"""What every side-by-side run needs: the same work for all sides, checked to agree, then timed in turn; and tables."""

import datetime
import itertools
import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from implementations.base import Implementation
from numpy.typing import NDArray

from fastml.roofline import machine_facts

# What tells BLAS, OpenMP and Numba, so also PyTorch and scikit-learn, and XLA how many threads to have.
THREADS = (*(f"{name}_NUM_THREADS" for name in ("OPENBLAS", "OMP", "MKL", "BLIS", "NUMBA")), "PJRT_NPROC", "NPROC")
# After a product the threads of OpenBLAS, and after a parallel region those of OpenMP, spin for a while before they
# sleep; they would be measured in the time of the other side. 50 ms after NumPy an epoch of 5 ms took 45 ms.
PAUSE_SECONDS = 0.2
# An epoch longer than this warms itself up and needs no more than two rounds.
SLOW_SECONDS, SLOW_ROUNDS = 2, 2
# Of the norm of what changed. The steps are short so that rounding does not decide it: with lr 0.1, one of 400 hidden
# units went another way in NumPy's float32 than in float64, and the results were 0.08 apart. Where X has no zeros, they
# were 0.0007 apart with lr 0.0005 still, or 0.0024 where NumPy had one thread, and with 0.0003 are 0.0002.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Work:
    """An epoch, or the evaluation of the network: X in [0, 1], and for those who read uint8 perhaps its pixels."""

    X: NDArray
    y: NDArray
    start: list[NDArray]
    pixels: NDArray[np.uint8] | None = None
    lr: float = 0.0
    batch: int = 100
    evaluation: bool = False

    def X_for(self, implementation: type[Implementation]) -> NDArray:
        """Return X as an implementation reads it."""
        return self.pixels if implementation.reads_uint8 and self.pixels is not None else self.X

    def side(self, implementation: type[Implementation], rows: int | None = None) -> Implementation:
        """Return an implementation with this work, or with its first rows, in its hands."""
        return implementation(self.X_for(implementation)[:rows], self.y[:rows], self.start, self.lr, self.batch)

    def run(self, side: Implementation) -> tuple[float, list]:
        """Run a side on the start weights; return seconds, and what came of it or how the weights changed."""
        side.reset()
        function = side.evaluate if self.evaluation else side.epoch
        began = time.perf_counter()
        result = function()
        seconds = time.perf_counter() - began
        if self.evaluation:
            return seconds, list(result)
        return seconds, [W - S for W, S in zip(side.results(), self.start, strict=True)]

    def difference(self, side: Implementation, other: Implementation) -> float:
        """Return how far apart their results are, relative to the norm of the other's; this also warms them up.

        Of one that has biases it is the first step.
        """
        if side.has_biases:
            self.run(side)
            side, other = (self.side(type(each), self.batch) for each in (side, other))
        pairs = zip(self.run(side)[1], self.run(other)[1], strict=True)
        return max(float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)) for ours, theirs in pairs)

    def seconds(self, sides: Sequence[Implementation], rounds: int) -> list[list[float]]:
        """Return the seconds of all sides, run in turn, each once uncounted first.

        After the pause a virtual processor wakes with cold caches and a low clock: a batch of hidden 400 took
        340 us in the place of 235, which tells of no side.
        """
        times: list[list[float]] = [[] for _ in sides]
        for number, (side, found) in itertools.product(range(rounds), zip(sides, times, strict=True)):
            if number >= SLOW_ROUNDS and min(found) > SLOW_SECONDS:
                continue
            time.sleep(PAUSE_SECONDS)
            seconds, _ = self.run(side)
            found.append(seconds if seconds > SLOW_SECONDS else self.run(side)[0])
        return times


def limit_threads(threads: int | None) -> int:
    """Start this program anew with so many threads on all sides, by default all cores; return how many.

    BLAS and others read the variables once, when they are loaded.
    """
    if not threads:
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    wanted = dict.fromkeys(THREADS, str(threads))
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | wanted)
    return threads


def facts_of_run() -> dict[str, str]:
    """Return what the machine and its software are, and the date."""
    return machine_facts() | {"date": datetime.date.today().isoformat()}


def markdown_list(facts: dict[str, str]) -> str:
    """Return facts as a Markdown list."""
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def markdown_table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return rows as a Markdown table."""
    header = list(header)
    lines = (header, ["---"] * len(header), *rows)
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
