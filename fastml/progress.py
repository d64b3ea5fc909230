"""A progress bar for work that takes longer than half a second; requires tqdm."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

# Shorter work gets no progress bar, which would only flicker.
BAR_DELAY_SECONDS = 0.5


class ShowProgress(Protocol):
    """Shows how much of some work is done, and the loss of training."""

    def __call__(self, done: int, total: int, loss: float | None = None) -> None:
        """Show how much of the total is done."""


@contextmanager
def progress_bar(unit: str = " examples", shown: bool = True) -> Iterator[ShowProgress | None]:
    """Yield a `progress` callback that shows a bar for each epoch or file, on stderr or in a notebook.

    Yield None if a bar would not be visible, if `shown` is false, or if tqdm is not installed.
    """
    try:
        from tqdm.auto import tqdm
    except ImportError:
        tqdm = None
    # No callback without a visible bar: with a callback, an epoch also computes its losses.
    if tqdm is None or not shown or not (sys.stderr.isatty() or "ipykernel" in sys.modules):
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
