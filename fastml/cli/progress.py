"""What a person sees while a command works: a progress bar, a word about compiling."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from numba.core import event

# What ends sooner gets no progress bar: it would only flicker.
BAR_DELAY_SECONDS = 0.5


@contextmanager
def progress_bar(unit: str = " examples") -> Iterator[Callable[..., None] | None]:
    """Yield a `progress`: a bar for each epoch or file, on stderr if it is a terminal and tqdm is there; else None."""
    try:
        from tqdm import tqdm
    except ImportError:
        tqdm = None
    # On none but a terminal: an epoch whose progress is heard of has its losses made too.
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
    """Says on stderr that kernels are compiled, at the first of them; kernels that come from the cache say nothing."""

    said = False

    def on_start(self, compilation):
        """Say it, once."""
        if not self.said:
            self.said = True
            print("fastml: compiling the kernels, some seconds ...", file=sys.stderr, flush=True)

    def on_end(self, compilation):
        """Say nothing."""
