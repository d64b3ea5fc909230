"""SIGINT and SIGTERM during training: stop between two slices, so that no finished slice is lost."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from fastml.options import Progress

SIGNALS = (signal.SIGINT, signal.SIGTERM)
KEPT = "stopped; the run is kept in {}: the same command with --resume goes on"


class Stopped(BaseException):
    """Raised after a signal to stop the command."""

    def __init__(self, signum: int, message: str):
        super().__init__(message)
        self.signum = signum


@contextmanager
def stopping_between_slices(progress: Progress | None, message: str) -> Iterator[Progress]:
    """Yield a `progress` callback that raises `Stopped` with the message at the next call after SIGINT or SIGTERM.

    A second signal has its usual effect immediately. A signal that was ignored before stays ignored.
    """
    usual = {signum: signal.getsignal(signum) for signum in SIGNALS}
    usual = {signum: handler for signum, handler in usual.items() if handler not in (None, signal.SIG_IGN)}
    received = []

    def note(signum, frame):
        received.append(signum)
        restore()

    def restore():
        for signum, handler in usual.items():
            signal.signal(signum, handler)

    def stop_or_show(done: int, total: int, loss: float) -> None:
        if received:
            raise Stopped(received[0], message)
        if progress is not None:
            progress(done, total, loss)

    try:
        for signum in usual:
            signal.signal(signum, note)
        yield stop_or_show
        if received:
            raise Stopped(received[0], message)
    finally:
        restore()


@contextmanager
def ignoring_interrupts() -> Iterator[None]:
    """Ignore SIGINT while the block runs. Processes that start in the block ignore Ctrl-C to their end."""
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
