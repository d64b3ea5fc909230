"""Feedback on the terminal while a command runs: a progress bar."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
