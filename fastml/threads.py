"""Calls in threads of their own.

Python runs the handlers of signals in the main thread, between any two of its steps. An exception from a handler breaks
a compilation: a callback swallows the exception, or a kernel stays half compiled. In other threads no handler runs.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Any

# The calls of `apart` that threads wait for, by the waiting thread.
waiting: dict[int, "Call"] = {}


class Call:
    """A call of a function in a thread of its own, which begins at once."""

    def __init__(self, function: Callable[..., Any], *arguments: Any):
        self.function, self.arguments = function, arguments
        self.thread = threading.Thread(target=self._run)
        # What the function returned and None, or None and what it raised.
        self.outcome: tuple[Any, BaseException | None] | None = None
        self.number = 0  # of the thread, as the system counts
        self.done = threading.Lock()
        self.done.acquire()

    def start(self) -> "Call":
        """Start the thread. At exit, Python waits for the end of the call, because the thread is no daemon."""
        self.thread.start()
        return self

    def _run(self) -> None:
        self.number = threading.get_native_id()
        try:
            self.outcome = self.function(*self.arguments), None
        except BaseException as error:
            self.outcome = None, error
        self.done.release()

    def result(self) -> Any:
        """Wait for the end of the call; return or raise what the function did.

        An exception from the handler of a signal is raised at the end of the call, too.
        """
        self._wait()
        self._wait_for_end()
        assert self.outcome is not None  # set before `done` is released
        value, error = self.outcome
        if error is not None:
            raise error
        return value

    def _wait_for_end(self) -> None:
        """Wait for the thread itself to end, on Linux, for a second at most.

        At its end, a thread unwinds its stack under a lock of the C library; after a compilation this takes long. A
        process that is forked meanwhile would inherit the lock as taken. A caller that waits here for a compilation
        holds the lock that forks wait for.
        """
        limit = time.monotonic() + 1
        while os.path.exists(f"/proc/self/task/{self.number}") and time.monotonic() < limit:
            time.sleep(0.0002)

    def wait(self) -> None:
        """Wait for the end of the call, if its thread has started."""
        if self.outcome is None and (self.thread.ident is not None or self.thread in threading.enumerate()):
            self._wait()

    def _wait(self) -> None:
        try:
            with self.done:  # taken until the end of the call, free afterwards
                pass
        finally:
            if self.outcome is None:
                self._wait()


class LostInFork(Exception):
    """A forked process does not have the thread of a call."""


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return function(*arguments), called in a thread of its own; in a forked process, call the function again."""
    here, call = threading.get_ident(), Call(function, *arguments)
    try:
        waiting[here] = call
        return call.start().result()
    except LostInFork:
        return apart(function, *arguments)
    finally:
        try:
            call.wait()  # an exception from a handler may have come before the wait of `result`
        finally:
            waiting.pop(here, None)


def is_waiting() -> bool:
    """Return whether this thread waits for a call of `apart`.

    An exception from a handler may leave a call that has ended among those that threads wait for.
    """
    call = waiting.get(threading.get_ident())
    return call is not None and call.outcome is None


def _lose_calls() -> None:
    """In a forked process: end the call that its only thread waits for, and forget those of other threads."""
    call = waiting.get(threading.get_ident())
    waiting.clear()
    if call is not None:
        waiting[threading.get_ident()] = call
        call.outcome = call.outcome or (None, LostInFork())
        if call.done.locked():
            call.done.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_lose_calls)
