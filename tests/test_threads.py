"""Threads: the same bits for any number and any layer of them, Python's own beside Numba's, and Ctrl-C among them."""

import json
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest

import fastml
from fastml.kernels.compile import forks
from tests import bits
from tests.problems import EPOCHS, make_problem

NO_LAYER = "No threading layer could be loaded"
# Where pip puts the library of the package tbb.
LIBRARIES = os.pathsep.join([os.path.join(sys.prefix, "lib"), os.environ.get("LD_LIBRARY_PATH", "")])


def run_bits(layer, threads):
    environment = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": str(threads), "LD_LIBRARY_PATH": LIBRARIES}
    status, output, errors = bits.end_python(bits.start_python("-m", "tests.bits", **environment))
    if layer != "workqueue" and NO_LAYER in errors:
        pytest.skip(f"{layer} is not installed")
    assert status == 0, errors
    return json.loads(output)


@pytest.fixture(scope="module")
def here():
    """The digests in this process, which compiles what is not in the cache: no other one spends its time on that."""
    return bits.digests()


@pytest.fixture(scope="module")
def one_thread(here):
    return run_bits("workqueue", 1)


@pytest.mark.parametrize("layer", ["workqueue", "omp", "tbb"])
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_same_bits_for_any_number_and_layer_of_threads(layer, threads, one_thread):
    found = run_bits(layer, threads)
    assert (found["layer"], found["workers"]) == (layer, [threads])
    assert found["digests"] == one_thread["digests"]


def test_same_bits_where_the_pace_decides_who_works(here, one_thread):
    assert here == one_thread["digests"]


def test_digests_see_another_order_of_the_same_batches(one_thread):
    def reverse(problem):
        problem.settings["order"] = np.arange(len(problem.X))[::-1].copy()

    found = bits.digests(reverse)
    assert found.keys() == one_thread["digests"].keys()
    assert not set(found.values()) & set(one_thread["digests"].values())


def test_digests_see_a_unit_in_the_last_place():
    weights = np.linspace(-1, 1, 1000, dtype=np.float32)
    nudged = weights.copy()
    nudged[500] = np.nextafter(nudged[500], np.float32(2))
    assert bits.digest([weights]) == bits.digest([weights.copy()]) != bits.digest([nudged])


@pytest.mark.parametrize("layer", ["workqueue", "omp", "tbb"])
def test_threads_of_python_take_turns(layer, here):
    environment = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2", "LD_LIBRARY_PATH": LIBRARIES}
    status, output, errors = bits.end_python(bits.start_python("-m", "tests.test_threads", "at_once", **environment))
    if layer != "workqueue" and NO_LAYER in errors:
        pytest.skip(f"{layer} is not installed")
    assert (status, output) == (0, "the same\n"), errors


def at_once():
    """In a process of its own: epochs and evaluations from several threads must give what they give one by one."""
    bits.share_every_batch([])
    problem = make_problem(103, 83, 131, 7, batch=17)

    def train(model):
        weights = problem.weights(model, "float32")
        losses = []
        for _ in range(20):
            EPOCHS[model][0](problem.X, problem.y, *weights, **problem.settings)
            losses.append(fastml.evaluate(problem.X, problem.y, *weights))
        return bits.digest([*weights, losses])

    alone = [train(model) for model in sorted(EPOCHS)]
    for threads in (2, 8):
        with ThreadPoolExecutor(threads) as pool:
            together = list(pool.map(train, sorted(EPOCHS) * (threads // 2)))
        assert together == alone * (threads // 2)
    print("the same")


def test_number_of_threads_is_respected_and_left_alone(here):
    output = bits.run_python("-m", "tests.test_threads", "masked", NUMBA_NUM_THREADS="3")
    assert json.loads(output) == [[count, [count], count] for count in (3, 1, 2)]


def masked():
    """In a process of its own: print the number of threads that is set, the workers of all calls, the number after."""
    shared, rows = [], []
    bits.share_every_batch(shared)
    problem = make_problem(103, 83, 131, 7, batch=17)
    for count in (3, 1, 2):
        numba.set_num_threads(count)
        shared.clear()
        for model, (epoch, _) in EPOCHS.items():
            weights = problem.weights(model, "float32")
            epoch(problem.X, problem.y, *weights, **problem.settings)
            fastml.evaluate(problem.X, problem.y, *weights)
        rows.append([count, sorted(set(shared)), numba.get_num_threads()])
    print(json.dumps(rows))


def test_interrupt_ends_an_epoch_soon_after_a_whole_batch(here):
    process = bits.start_python("-m", "tests.test_threads", "interrupted")
    watchdog = threading.Timer(bits.TIMEOUT_SECONDS, process.kill)
    watchdog.start()
    try:
        assert process.stdout.readline() == "begun\n", process.communicate()[1]
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        began = time.perf_counter()
        assert process.stdout.readline() == "stopped\n"
        seconds = time.perf_counter() - began
    finally:
        watchdog.cancel()
        status, output, errors = bits.end_python(process)
    print(f"interrupted after {seconds:.3f} s; {output}")
    assert status == 0, errors
    found = json.loads(output)
    assert found["extra batches"] is not None
    # What is promised is a tenth of a second, what would be left of the epoch is half a minute.
    assert seconds < 5
    assert found["rows"] < found["of"] / 2


def interrupted():
    """In a process of its own: interrupt a long epoch and find the whole batches that its weights are the result of."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    batch = 64
    problem = make_problem(256, 784, 100, 10, batch=batch, dtype="uint8", density=0.2, lr=1e-2)
    order = np.tile(np.random.default_rng(0).permutation(256).astype(np.uint8), 200_000)
    settings = {**problem.settings, "scale": 1 / 100}
    weights = problem.weights("nn", "float32")
    heard = []

    def progress(done, num_examples, loss):
        if not heard:
            print("begun", flush=True)
        heard.append(done)

    try:
        fastml.nn_epoch(problem.X, problem.y, *weights, **settings, order=order, progress=progress)
    except KeyboardInterrupt:
        print("stopped", flush=True)
    # The slice that the signal came in was finished, but progress was not told.
    rows = heard[-1]
    stopped, seen, extra = bits.digest(weights), set(), None
    again = problem.weights("nn", "float32")
    fastml.nn_epoch(problem.X, problem.y, *again, **settings, order=order[:rows])
    for steps in range(5000):
        seen.add(bits.digest(again))
        # Weights that no longer change would agree with any number of batches.
        assert len(seen) == steps + 1
        if bits.digest(again) == stopped:
            extra = steps
            break
        start = rows + steps * batch
        fastml.nn_epoch(problem.X, problem.y, *again, **settings, order=order[start : start + batch])
    print(json.dumps({"rows": rows, "of": len(order), "extra batches": extra}))


if __name__ == "__main__":
    {"at_once": at_once, "masked": masked, "interrupted": interrupted}[sys.argv[1]]()


def test_a_call_takes_no_lock_that_an_interrupt_could_leave_taken(monkeypatch):
    class Taken:
        def __enter__(self):
            raise AssertionError("Numba's lock is taken")

        __exit__ = None

    X = np.eye(3, dtype=np.float32)
    expected = forks.available_threads(), fastml.predict(X, X).tolist()  # the first calls load kernels under the lock
    monkeypatch.setattr("numba.np.ufunc.parallel._backend_init_process_lock", Taken())
    assert (forks.available_threads(), fastml.predict(X, X).tolist()) == expected
