"""SIGINT and SIGTERM during training: a run with a checkpoint, or with `--save`, keeps the weights that it has."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from fastml.options import Progress

SIGNALS = (signal.SIGINT, signal.SIGTERM)
KEPT = "stopped; the run is kept in {}: the same command with --resume continues the run"


class Stopped(BaseException):
    """Raised after a signal to stop the command."""

    def __init__(self, signum: int, message: str):
        super().__init__(message)
        self.signum = signum


class Terminated(KeyboardInterrupt):
    """Raised at SIGTERM where the signal has the effect of Ctrl-C."""


@contextmanager
def stopping_between_slices(progress: Progress | None, message: str) -> Iterator[Progress]:
    """Yield a `progress` callback that raises `Stopped` with the message at the next call after SIGINT or SIGTERM.

    A second signal has its usual effect immediately. A signal that was ignored before stays ignored.
    """
    usual = {signum: signal.getsignal(signum) for signum in SIGNALS}
    usual = {signum: handler for signum, handler in usual.items() if handler not in (None, signal.SIG_IGN)}
    received: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        received.append(signum)
        restore()

    def restore() -> None:
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
def raising_at_sigterm() -> Iterator[None]:
    """Have the first SIGTERM raise `Terminated` while the block runs, as Ctrl-C raises KeyboardInterrupt.

    A second signal has its usual effect. A signal that was ignored before stays ignored. Only the main thread can
    handle signals, so in another thread nothing changes.
    """
    usual = signal.getsignal(signal.SIGTERM)
    if usual in (None, signal.SIG_IGN) or threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, usual)
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, usual)


@contextmanager
def ignoring_interrupts() -> Iterator[None]:
    """Ignore SIGINT while the block runs. Processes that start in the block ignore Ctrl-C to their end."""
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
