"""Compilations beside the handlers of signals, forks, and the end of the main thread."""

import contextlib
import importlib.abc
import json
import os
import queue
import signal
import sys
import threading
import time

import numba
import numpy as np
import pytest
from numba.core import event

import fastml
from fastml import roofline, threads
from fastml.datasets import deform, generate_mnist, load_mnist
from fastml.datasets.convert import convert
from fastml.kernels.compile import calls, forks, options
from fastml.threads import Call
from tests import bits
from tests.problems import make_problem

TIMEOUT_SECONDS = 30
NEEDS_SIGNALS = pytest.mark.skipif(os.name != "posix", reason="sends signals to the main thread")
NEEDS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
PROBLEM = make_problem(50, 30, 21, 5, batch=16)
THETA, W1, W2 = WEIGHTS = [*PROBLEM.weights("softmax", "float32"), *PROBLEM.weights("nn", "float32")]
MANY = np.zeros((30, 60), np.float32)


def all_calls(directory):
    """Return calls of every public function that may compile, by name."""
    X, y, settings = PROBLEM.X, PROBLEM.y, PROBLEM.settings
    source, outputs = directory / "source.txt", (directory / "images", directory / "labels")
    source.write_text("1 1:2\n")
    return {
        "softmax_regression_epoch": lambda: fastml.softmax_regression_epoch(X, y, THETA, **settings),
        "many classes": lambda: fastml.softmax_regression_epoch(X, y, MANY, **settings),
        "nn_epoch": lambda: fastml.nn_epoch(X, y, W1, W2, **settings),
        "network, many classes": lambda: fastml.nn_epoch(X, y, W1, np.zeros((W1.shape[1], 60), np.float32), **settings),
        "train_softmax": lambda: fastml.train_softmax(X, y, X, y, verbose=False),
        "train_nn": lambda: fastml.train_nn(X, y, X, y, checkpoint=directory / "run", verbose=False),
        "evaluate": lambda: fastml.evaluate(X, y, W1, W2),
        "predict": lambda: fastml.predict(X, W1, W2),
        "predict_proba": lambda: fastml.predict_proba(X, THETA),
        "softmax_loss": lambda: fastml.softmax_loss(X, y),
        "loss_err": lambda: fastml.loss_err(X, y),
        "warmup": fastml.warmup,
        "deform": lambda: deform(np.zeros((1, 2, 2), np.uint8), [0]),
        "generate_mnist": lambda: generate_mnist(directory / "large", 60_001),
        "convert": lambda: convert(source, *outputs),
        "fma_peak": lambda: roofline.fma_peak("float32", 1),
    }


def double(values):
    for i in range(values.size):
        values[i] *= 2


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Return a kernel that is compiled in no time, and is not in the cache."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    return options.kernel(double)


class AtCompilation(event.Listener):
    """Calls a function in the middle of the first compilation, in the thread that compiles."""

    def __init__(self, function):
        self.function = function

    def on_start(self, event):
        function, self.function = self.function, lambda: None
        function()

    def on_end(self, event):
        pass


@contextlib.contextmanager
def handled_while_compiling(handle, times=1):
    """Have the main thread handle a signal, so many times or more, in the first compilation of the block."""
    begun = queue.SimpleQueue()  # of C, so that a handler may interrupt a handler

    def handler(*_):
        begun.put(True)
        handle()

    def interrupt():
        # A signal that comes just before the main thread waits is handled when the wait ends, so it is sent again.
        for handled in range(1, times + 1):
            while begun.qsize() < handled:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
                time.sleep(0.01)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with event.install_listener("numba:compile", AtCompilation(interrupt)):
            yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def interrupt():
    raise KeyboardInterrupt


@NEEDS_SIGNALS
def test_a_handler_that_comes_while_kernels_compile_is_refused(tmp_path, kernel):
    found, values, before = {}, np.ones(3), [W.copy() for W in (*WEIGHTS, MANY)]

    def call_all():
        for name, call in all_calls(tmp_path).items():
            try:
                found[name] = repr(call())
            except RuntimeError as error:
                found[name] = str(error)

    with handled_while_compiling(call_all):
        kernel(values)
    expected = "fastml was called by a signal handler while Numba compiles: call it after the handler has returned"
    assert found == dict.fromkeys(all_calls(tmp_path), expected)
    assert values.tolist() == [2, 2, 2]
    for W, unchanged in zip((*WEIGHTS, MANY), before, strict=True):
        np.testing.assert_array_equal(W, unchanged)
    assert not [name for name in ("large", "run", "images", "labels") if (tmp_path / name).exists()]
    for call in ("loss_err", "deform", "convert"):
        all_calls(tmp_path)[call]()


@NEEDS_SIGNALS
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("way", ["call", "address"])
def test_an_interrupt_comes_after_the_compilation(kernel, times, way):
    values, compilations = np.ones(3), bits.Compilations()

    def run():
        if way == "call":
            kernel(values)
        else:
            calls.address_of(kernel, (values,))

    with event.install_listener("numba:compile", compilations):
        with handled_while_compiling(interrupt, times), pytest.raises(KeyboardInterrupt):
            run()
        assert values.tolist() == [1, 1, 1]
        run()
    assert compilations.names.count("double") == 1
    assert values.tolist() == ([2, 2, 2] if way == "call" else [1, 1, 1])


def test_a_compilation_that_failed_begins_again(kernel):
    values = np.ones(3)

    def fail():
        raise MemoryError

    with event.install_listener("numba:compile", AtCompilation(fail)), pytest.raises(MemoryError):
        kernel(values)
    kernel(values)
    assert values.tolist() == [2, 2, 2]


def test_no_address_zero_is_called(kernel, monkeypatch):
    values = np.ones(3)
    kernel(values)
    (compiled,) = kernel.overloads.values()
    with monkeypatch.context() as patched:
        patched.setattr(compiled.library, "get_pointer_to_function", lambda name: 0)
        with pytest.raises(RuntimeError, match="Numba compiled double, but its machine code has no address"):
            calls.address_of(kernel, (values,))
    assert calls.address_of(kernel, (values,)) != 0


@NEEDS_FORK
@NEEDS_SIGNALS
def test_a_handler_that_comes_while_kernels_compile_may_fork(kernel):
    children, values = [], np.ones(3)
    with handled_while_compiling(lambda: children or children.append(os.fork())):
        kernel(values)
    if children == [0]:
        os._exit(0 if values.tolist() == [2, 2, 2] and not threads.waiting else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
    assert values.tolist() == [2, 2, 2]


@NEEDS_FORK
@pytest.mark.parametrize("call", ["softmax_loss", "convert", "nn_epoch", "deform", "fma_peak"])
def test_a_fork_waits_for_a_compilation(tmp_path, call):
    found = bits.run_python("-m", "tests.test_compiling", "fork", call, str(tmp_path), NUMBA_CACHE_DIR=str(tmp_path))
    assert json.loads(found) == [0]


def fork(call, directory):
    """In a process of its own: fork in the middle of a first call by another thread; the child compiles, too."""
    begun = threading.Event()

    def call_and_stay():
        all_calls(bits.Path(directory))[call]()
        # Any thread that ends at the moment of a fork can leave the child with a lock of the C library taken.
        threading.Event().wait()

    with event.install_listener("numba:compile", AtCompilation(begun.set)):
        threading.Thread(target=call_and_stay, daemon=True).start()
        begun.wait()
        child = os.fork()
        if child == 0:
            signal.alarm(TIMEOUT_SECONDS)
            values = np.ones(3)
            options.kernel(double)(values)
            forks.available_threads()
            os._exit(0 if values.tolist() == [2, 2, 2] else 1)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]), flush=True)
    os._exit(0)  # what the other thread compiles is of no interest any more


def test_a_call_imports_nothing_but_under_the_lock(tmp_path):
    # A fork in the middle of an import leaves a child that hangs. What Numba imports, it imports under the lock.
    assert json.loads(bits.run_python("-m", "tests.test_compiling", "imported", str(tmp_path))) == []


def imported(directory):
    """In a process of its own: print which modules are imported while the lock is free."""
    found = []

    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, name, *_):
            if not forks.parallel_lock._is_owned() and forks.parallel_lock.acquire(blocking=False):
                forks.parallel_lock.release()
                found.append(name)

    sys.meta_path.insert(0, Finder())
    names = ("nn_epoch", "many classes", "evaluate", "predict", "softmax_loss", "deform", "convert")
    for name in names:
        all_calls(bits.Path(directory))[name]()
    print(json.dumps(found))


def test_numba_imports_no_module_of_multiprocessing_when_it_starts_its_threads():
    program = """
import sys
import fastml
from fastml.kernels.compile import forks
before = {name for name in sys.modules if name.startswith("multiprocessing")}
forks.available_threads()
print(sorted(name for name in sys.modules if name.startswith("multiprocessing") and name not in before))
"""
    assert bits.run_python("-c", program).strip() == "[]"


def test_a_thread_that_outlives_the_main_thread_makes_the_first_call(tmp_path):
    expected = repr(all_calls(tmp_path)["evaluate"]())
    output = bits.run_python("-m", "tests.test_compiling", "outlive", str(tmp_path))
    assert output.splitlines() == ["(60000, 784)", "(100, 784)", expected]


def outlive(directory):
    """In a process of its own: use the package after the end of the main thread."""

    def run():
        threading.main_thread().join()
        place = bits.Path(directory)
        print(load_mnist()[0][0].shape)
        generate_mnist(place / "large", 100)
        print(load_mnist(place / "large")[0][0].shape)
        print(all_calls(place)["evaluate"]())

    threading.Thread(target=run).start()


def test_a_call_that_has_ended_keeps_no_thread_from_calling(monkeypatch):
    ended = Call(int).start()
    ended.result()
    monkeypatch.setitem(threads.waiting, threading.get_ident(), ended)
    forks.check_not_compiling()
    begun = Call(time.sleep, 0.2).start()
    monkeypatch.setitem(threads.waiting, threading.get_ident(), begun)
    with pytest.raises(RuntimeError, match="while Numba compiles"):
        forks.check_not_compiling()
    begun.result()


def test_an_interrupt_during_the_wait_leaves_no_call_behind(monkeypatch):
    class Interrupted(Call):
        def result(self):
            raise KeyboardInterrupt

        def wait(self):
            super().wait()
            raise KeyboardInterrupt

    monkeypatch.setattr(threads, "Call", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        threads.apart(time.sleep, 0.05)
    assert threads.waiting == {}


def test_an_interrupt_before_the_wait_does_not_leave_the_call_alone(monkeypatch):
    class Interrupted(Call):
        def result(self):
            raise KeyboardInterrupt

    monkeypatch.setattr(threads, "Call", Interrupted)
    ended = []
    with pytest.raises(KeyboardInterrupt):
        threads.apart(lambda: ended.append(time.sleep(0.1)))
    assert ended == [None]


def test_a_call_in_a_thread_of_its_own_ends_alike_as_often_as_it_is_asked():
    returned, raised = Call(divmod, 7, 2).start(), Call(divmod, 7, 0).start()
    for _ in range(2):
        assert returned.result() == (3, 1)
        with pytest.raises(ZeroDivisionError):
            raised.result()


if __name__ == "__main__":
    {"fork": fork, "imported": imported, "outlive": outlive}[sys.argv[1]](*sys.argv[2:])
