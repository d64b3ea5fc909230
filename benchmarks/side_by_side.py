"""What a side-by-side run needs: the same work for all sides, a check of the results, times in turn, and tables."""

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

# The variables that set the number of threads of BLAS, OpenMP, Numba and XLA, and so of all peers.
THREADS = (*(f"{name}_NUM_THREADS" for name in ("OPENBLAS", "OMP", "MKL", "BLIS", "NUMBA")), "PJRT_NPROC", "NPROC")
# Threads of OpenBLAS spin for a while after a product before they sleep, and so do threads of OpenMP after a parallel
# region. Without a pause they would slow the other side: 50 ms after NumPy an epoch of 5 ms took 45 ms.
PAUSE_SECONDS = 0.2
# A longer epoch warms itself up, and two rounds of it are enough.
SLOW_SECONDS, SLOW_ROUNDS = 2, 2
# The largest difference of two results, as a part of the norm of the change of the weights. The step sizes are small,
# because with long steps rounding decides the result. With lr 0.1, one of 400 hidden units ended elsewhere in NumPy's
# float32 than in float64, and the results were 0.08 apart; with lr 0.02, pixels that differed in the last bit ended
# 0.007 apart. Where X has no zeros, results with lr 0.0005 were 0.0007 apart, or 0.0024 where NumPy had one thread, and
# with lr 0.0003 they are 0.0002 apart.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Work:
    """An epoch, or the evaluation of the network, on X; implementations that read uint8 get pixels if there are any."""

    X: NDArray
    y: NDArray
    start: list[NDArray]
    pixels: NDArray[np.uint8] | None = None
    lr: float = 0.0
    batch: int = 100
    evaluation: bool = False
    optimizer: str = "sgd"

    def X_for(self, implementation: type[Implementation]) -> NDArray:
        """Return X as an implementation reads it."""
        return self.pixels if implementation.reads_uint8 and self.pixels is not None else self.X

    def side(self, implementation: type[Implementation], rows: int | None = None) -> Implementation:
        """Return an implementation that has this work, or the first rows of it, to do."""
        side = implementation(self.X_for(implementation)[:rows], self.y[:rows], self.start, self.lr, self.batch)
        side.optimizer = self.optimizer
        return side

    def run(self, side: Implementation) -> tuple[float, list]:
        """Run a side on the start weights; return the seconds, and the evaluation or the change of the weights."""
        side.reset()
        function = side.evaluate if self.evaluation else side.epoch
        began = time.perf_counter()
        result = function()
        seconds = time.perf_counter() - began
        if self.evaluation:
            return seconds, list(result)
        return seconds, [W - S for W, S in zip(side.results(), self.start, strict=True)]

    def difference(self, side: Implementation, other: Implementation) -> float:
        """Return how far apart two sides' results are, relative to the norm of the other's; this also warms them up.

        If the first side has biases, only the results of the first step are compared.
        """
        if side.has_biases:
            self.run(side)
            side, other = (self.side(type(each), self.batch) for each in (side, other))
        pairs = zip(self.run(side)[1], self.run(other)[1], strict=True)
        return max(float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)) for ours, theirs in pairs)

    def seconds(self, sides: Sequence[Implementation], rounds: int) -> list[list[float]]:
        """Return the seconds of all sides, which run in turn, each once before the run that counts.

        After the pause a virtual processor wakes with cold caches and a low clock: a batch of the network with 400
        hidden units then took 340 us in the place of 235.
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
    """Restart this program with a number of threads for all sides, by default one a core; return the number.

    BLAS and other libraries read the variables once, when they are loaded.
    """
    if not threads:
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    wanted = dict.fromkeys(THREADS, str(threads))
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | wanted)
    return threads


def facts_of_run() -> dict[str, str]:
    """Return the facts of the machine and its software, and the date."""
    return machine_facts() | {"date": datetime.date.today().isoformat()}


def markdown_list(facts: dict[str, str]) -> str:
    """Return facts as a Markdown list."""
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def markdown_table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return rows as a Markdown table."""
    header = list(header)
    lines = (header, ["---"] * len(header), *rows)
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
