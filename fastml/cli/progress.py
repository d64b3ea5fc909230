"""Feedback on the terminal while a command runs: a progress bar, and a notice about compilation."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from numba.core import event

# Shorter work gets no progress bar, which would only flicker.
BAR_DELAY_SECONDS = 0.5


@contextmanager
def progress_bar(unit: str = " examples") -> Iterator[Callable[..., None] | None]:
    """Yield a `progress` callback that shows a bar on stderr for each epoch or file.

    Yield None if stderr is not a terminal or tqdm is not installed.
    """
    try:
        from tqdm import tqdm
    except ImportError:
        tqdm = None
    # No callback without a visible bar: with a callback, an epoch also computes its losses.
    if tqdm is None or not sys.stderr.isatty():
        yield None
        return
    bar = None

    def show(done: int, total: int, loss: float | None = None) -> None:
        nonlocal bar
        if bar is None:
            settings = {"delay": BAR_DELAY_SECONDS, "leave": False}
            bar = tqdm(total=total, unit=unit, unit_scale=True, **settings)
        if loss is not None:
            bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
        bar.update(done - bar.n)
        if done == total:
            bar.close()
            bar = None

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


class CompileNotice(event.Listener):
    """Prints a notice on stderr when the first kernel is compiled. Kernels from the cache cause no notice."""

    said = False

    def on_start(self, compilation):
        """Print the notice, once."""
        if not self.said:
            self.said = True
            print("fastml: compiling the kernels, some seconds ...", file=sys.stderr, flush=True)

    def on_end(self, compilation):
        """Print nothing."""
