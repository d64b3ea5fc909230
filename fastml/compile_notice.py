"""A line on standard error when the first kernel is compiled: the call then takes some seconds longer."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from numba import types
from numba.core import event

# A value other than an empty one or 0 suppresses the line.
QUIET = "FASTML_QUIET"


class CompileNotice(event.Listener):
    """Prints a line when the first kernel of fastml is compiled. Kernels from the cache cause no line."""

    def __init__(self) -> None:
        self.said = False

    def on_start(self, compilation: event.Event) -> None:
        """Print the line, once in a process."""
        dispatcher = compilation.data["dispatcher"]
        if self.said or os.environ.get(QUIET, "") not in ("", "0") or not is_of_fastml(dispatcher.py_func):
            return
        self.said = True
        dtype = next(floats_in(compilation.data["args"]), None)
        precision = "" if dtype is None else f" for {dtype}"
        place = dispatcher.stats.cache_path
        kept = f"cached in {place}" if place else "not cached: no directory can be written"
        with contextlib.suppress(OSError, ValueError, AttributeError):  # no standard error, or a closed one
            print(f"fastml: compiling kernels{precision} (first call, about 10 s; {kept})", file=sys.stderr, flush=True)

    def on_end(self, compilation: event.Event) -> None:
        """Print nothing."""


def is_of_fastml(function: Callable[..., Any]) -> bool:
    """Return whether a function belongs to this package."""
    return function.__module__.partition(".")[0] == "fastml"


def floats_in(arguments: Iterable[types.Type]) -> Iterator[types.Float]:
    """Yield the floating-point types of arguments, of arrays and of what tuples hold."""
    for argument in arguments:
        if isinstance(argument, types.BaseTuple):
            yield from floats_in(argument)
        elif isinstance(dtype := getattr(argument, "dtype", argument), types.Float):
            yield dtype


notice = CompileNotice()
event.register("numba:compile", notice)
