"""Other processes and other libraries: children before and after parallel kernels, OpenMP of others, signals."""

import ctypes
import importlib.util
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from numba.core.compiler_lock import global_compiler_lock

import fastml
from fastml.datasets import deform
from fastml.kernels.compile import forks
from fastml.kernels.network import Network
from tests import bits
from tests.problems import EPOCHS, make_problem

NO_LAYER = "No threading layer could be loaded"
# Where pip puts the library of the package tbb.
LIBRARIES = os.pathsep.join([os.path.join(sys.prefix, "lib"), os.environ.get("LD_LIBRARY_PATH", "")])
TIMEOUT_SECONDS = 60
METHODS = [method for method in ("fork", "forkserver", "spawn") if method in multiprocessing.get_all_start_methods()]
NEEDS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
shared = []


def results():
    """Return the digest of what all parallel kernels make."""
    problem = make_problem(103, 83, 131, 7, batch=17)
    found = [deform(problem.X[:, :81].astype(np.uint8).reshape(-1, 9, 9), np.arange(20))]
    for model, (epoch, _) in EPOCHS.items():
        weights = problem.weights(model, "float32")
        epoch(problem.X, problem.y, *weights, **problem.settings)
        found += [*weights, fastml.evaluate(problem.X, problem.y, *weights)]
    return bits.digest(found)


def train():
    """Return how many threads kernels have in this process, and the digest of what they make on all of them."""
    if not shared:
        bits.share_every_batch(shared)
    found = results()
    return shared[-1], found


def run_script(name, layer="default", **environment):
    """Run a function of this file in a process of its own and return what it prints, from JSON."""
    environment = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2", "LD_LIBRARY_PATH": LIBRARIES} | environment
    status, output, errors = bits.end_python(bits.start_python("-m", "tests.test_processes", name, **environment))
    if layer != "workqueue" and NO_LAYER in errors:
        pytest.skip(f"{layer} is not installed")
    assert status == 0, f"status {status}\n{output}{errors}"
    return json.loads(output)


@pytest.fixture(scope="module")
def here():
    """The digest in this process, which compiles what is not in the cache: no other one spends its time on that."""
    return results()


@pytest.mark.parametrize("layer", ["workqueue", "omp", "tbb"])
def test_children_before_and_after_a_parallel_run(layer, here):
    found = run_script("children", layer)
    assert found.pop("parent") == [2, here]
    # A forked child has one thread alone.
    children = {f"{when}, {method}": [1 if method == "fork" else 2, here] for when in (0, 1) for method in METHODS}
    assert found == children


def children():
    """Train in children of each kind, before this process does and after it."""
    found = {}
    for when in (0, 1):
        pools = {method: ProcessPoolExecutor(1, multiprocessing.get_context(method)) for method in METHODS}
        for method, child in {method: pool.submit(train) for method, pool in pools.items()}.items():
            found[f"{when}, {method}"] = child.result(TIMEOUT_SECONDS)
        found["parent"] = train()
    print(json.dumps(found))


@NEEDS_FORK
def test_a_fork_waits_for_the_kernel_at_hand():
    assert run_script("fork_in_a_kernel") == [0] * 3


def fork_in_a_kernel():
    """Fork while another thread is where kernels run; a child tells whether it was there still, and takes its turn."""

    def hold():
        with forks.parallel_lock:
            held.set()
            time.sleep(0.1)
            held.clear()

    statuses = []
    for _ in range(3):
        held = threading.Event()
        holder = threading.Thread(target=hold)
        holder.start()
        held.wait()
        child = os.fork()
        if child == 0:
            os._exit(held.is_set() or not forks.parallel_lock.acquire(timeout=TIMEOUT_SECONDS))
        holder.join()
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(json.dumps(statuses))


@NEEDS_FORK
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="calls GNU's OpenMP by its name on Linux")
@pytest.mark.parametrize("layer", ["workqueue", "omp", "tbb"])
def test_openmp_of_others_before_and_after(layer, here):
    found = run_script("openmp", layer, OMP_NUM_THREADS="3")
    if found is None:
        pytest.skip("OpenMP is not installed")
    assert found == {"settings": [[3, 0, 3]] * 3, "child": 0, "parent": [2, here], "child after": 0}


def openmp():
    """Use OpenMP as other libraries do, fork, train, and use it again; print its settings and teams between."""
    try:
        library = ctypes.CDLL("libgomp.so.1")
    except OSError:
        print("null")
        return
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

    def settings():
        members = set()
        callback = function(lambda _: members.add(threading.get_native_id()))
        library.GOMP_parallel(callback, None, ctypes.c_uint(0), ctypes.c_uint(0))
        return [library.omp_get_max_threads(), library.omp_get_nested(), len(members)]

    def fork():
        child = os.fork()
        if child == 0:
            signal.alarm(TIMEOUT_SECONDS)
            train()
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    found = {"settings": [settings()], "child": fork()}
    found["settings"].append(settings())
    found["parent"] = train()
    found["settings"].append(settings())
    found["child after"] = fork()
    print(json.dumps(found))


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_torch_before_and_after(here):
    assert run_script("torch") == [[2, here], [5, 5, 5]]


def torch():
    import torch

    def threads():
        matrix = torch.ones(500, 500)
        assert (matrix @ matrix == 500).all()
        return torch.get_num_threads()

    torch.set_num_threads(5)
    counts = [threads()]
    found = train()
    counts.append(threads())
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("fork"))
    assert pool.submit(train).result(TIMEOUT_SECONDS)[1] == found[1]
    counts.append(threads())
    print(json.dumps([found, counts]))


@pytest.mark.skipif(importlib.util.find_spec("joblib") is None, reason="joblib is not installed")
@pytest.mark.parametrize("backend", ["threading", "loky", "multiprocessing"])
def test_inside_joblib(backend, here):
    found = run_script("in_joblib", BACKEND=backend)
    assert {digest for _, digest in found} == {here}


def in_joblib():
    import joblib

    train()
    print(json.dumps(joblib.Parallel(n_jobs=2, backend=os.environ["BACKEND"])(joblib.delayed(train)() for _ in "1234")))


@pytest.mark.skipif(os.name != "posix", reason="sends itself signals")
def test_the_handler_of_a_signal_may_run_kernels(monkeypatch):
    problem = make_problem(50, 30, 21, 5, batch=16)
    weights, expected = problem.weights("nn", "float32"), problem.weights("nn", "float32")
    fastml.nn_epoch(problem.X, problem.y, *expected, **problem.settings)
    handled, run = [], Network.learn

    def interrupted(*arguments):
        run(*arguments)
        if not handled:
            signal.raise_signal(signal.SIGUSR1)

    def handle(*_):
        handled.append(True)
        handled.append(fastml.evaluate(problem.X, problem.y, *expected))

    def give_up(*_):
        raise TimeoutError

    monkeypatch.setattr(Network, "learn", interrupted)
    before = [signal.signal(signal.SIGUSR1, handle), signal.signal(signal.SIGALRM, give_up)]
    signal.alarm(TIMEOUT_SECONDS)
    try:
        fastml.nn_epoch(problem.X, problem.y, *weights, **problem.settings)
    finally:
        signal.alarm(0)
        for number, handler in zip((signal.SIGUSR1, signal.SIGALRM), before, strict=True):
            signal.signal(number, handler)
    assert handled[1] == fastml.evaluate(problem.X, problem.y, *weights)
    assert bits.digest(weights) == bits.digest(expected)


def test_a_handler_that_comes_while_numba_compiles_is_refused():
    problem = make_problem(50, 30, 21, 5, batch=16)
    weights = problem.weights("nn", "float32")
    before = bits.digest(weights)
    with global_compiler_lock:
        for call in (
            lambda: fastml.nn_epoch(problem.X, problem.y, *weights),
            lambda: fastml.evaluate(problem.X, problem.y, *weights),
            lambda: deform(np.zeros((1, 2, 2), np.uint8), [0]),
        ):
            with pytest.raises(RuntimeError, match="while Numba compiles"):
                call()
    assert bits.digest(weights) == before


if __name__ == "__main__":
    globals()[sys.argv[1]]()
