"""SIGINT and SIGTERM while a run trains: stop between two slices, where nothing is lost."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from fastml.epochs import Progress

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """A signal has asked the command to stop, and it is about to."""

    def __init__(self, signum: int, message: str):
        super().__init__(message)
        self.signum = signum


@contextmanager
def stopping_between_slices(progress: Progress | None, message: str) -> Iterator[Progress]:
    """Yield a `progress` that, after SIGINT or SIGTERM, raises `Stopped` with the message when it is next called.

    A second signal has its usual effect, at once. A signal that was ignored stays so.
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
