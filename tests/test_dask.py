"""Local SGD on a Dask cluster: the same bits whatever happens to the workers, and errors before the first round."""

import itertools
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import numba
import numpy as np
import pytest

import fastml
from fastml import SGD, AdamW, Momentum, nn_epoch, softmax_regression_epoch
from fastml.checkpoints import CheckpointError
from fastml.cli import main
from fastml.datasets import load_mnist, open_idx, write_idx
from fastml.options import CheckedOptions
from fastml.orders import epoch_order
from fastml.preparation import initial_weights
from fastml.weights import load_weights
from tests.problems import make_problem

distributed = pytest.importorskip("distributed")
dask = pytest.importorskip("dask")
fastml_dask = pytest.importorskip("fastml.dask")
from fastml.cli import cluster as command_cluster  # noqa: E402
from fastml.dask import cluster as cluster_module  # noqa: E402
from fastml.dask import shards_of, train_nn, train_softmax  # noqa: E402
from fastml.dask.shards import open_shard  # noqa: E402
from fastml.dask.tasks import Plan, parts_of  # noqa: E402

WORKERS, SHARDS, ROWS = 4, 4, 330
PROBLEM = make_problem(ROWS, 12, 8, 3, batch=16)
X, Y = PROBLEM.X[:300], PROBLEM.y[:300]
X_TEST, Y_TEST = PROBLEM.X[300:], PROBLEM.y[300:]
SETTINGS = {"rounds": 3, "lr": 0.3, "batch": 16, "verbose": False}
NN = SETTINGS | {"hidden_dim": 8}


class Enough(Exception):
    """Stops a run out of its progress."""


@pytest.fixture(scope="module")
def client():
    # Compiles for the workers, which find the kernels in the cache.
    fastml.train_nn(X, Y, X_TEST, Y_TEST, hidden_dim=8, epochs=1, batch=16, verbose=False)
    settings = {"n_workers": WORKERS, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(**settings) as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("files")
    np.save(directory / "X.npy", X)
    np.save(directory / "y.npy", Y)
    return [directory / "X.npy", directory / "y.npy"]


@pytest.fixture(scope="module")
def shards(files):
    return shards_of(files, SHARDS)


@pytest.fixture(scope="module")
def expected(client, shards):
    """The run that others must equal."""
    return train_nn(client, shards, X_TEST, Y_TEST, **NN)


def assert_same_run(history, expected):
    for W, W_expected in zip(history.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(W, W_expected, strict=True)
    for name, b in expected.weights.biases.items():
        np.testing.assert_array_equal(history.weights.biases[name], b, strict=True)
    assert [row[:-1] for row in history.rows] == [row[:-1] for row in expected.rows]


def keys_of(client):
    return client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks))


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_bits_do_not_depend_on_the_number_of_workers(client, shards, expected, workers):
    used = list(client.scheduler_info()["workers"])[:workers]
    with dask.annotate(workers=used):
        assert_same_run(train_nn(client, shards, X_TEST, Y_TEST, **NN), expected)


@pytest.mark.parametrize("model", ["softmax", "nn"])
def test_one_shard_with_plain_averaging_is_training_on_one_machine(client, model):
    data, sizes = (X, Y), {"hidden_dim": 8} if model == "nn" else {}
    settings = {"lr": 0.3, "batch": 16, "seed": 3, "schedule": "cosine", "verbose": False, **sizes}
    on_cluster = train_nn if model == "nn" else train_softmax
    here = fastml.train_nn if model == "nn" else fastml.train_softmax
    found = on_cluster(client, [lambda: data], X_TEST, Y_TEST, rounds=3, warmup_rounds=1, **settings)
    assert_same_run(found, here(*data, X_TEST, Y_TEST, epochs=3, warmup_epochs=1, shuffle=True, **settings))


@pytest.mark.parametrize("outer", [SGD(), Momentum(), Momentum(momentum=0.5, nesterov=False)], ids=repr)
@pytest.mark.parametrize("local_steps", [None, 3])
def test_rounds_follow_the_formula(client, shards, outer, local_steps):
    settings = NN | {"local_steps": local_steps, "outer": outer, "outer_lr": 0.7, "seed": 5}
    found = train_nn(client, shards, **settings)
    weights = [W.astype(np.float64) for W in initial_weights((12, 8, 3), 5)]
    velocities = [np.zeros_like(W) for W in weights]
    cuts = [number * len(X) // SHARDS for number in range(SHARDS + 1)]
    for number in range(settings["rounds"]):
        averages = [np.zeros_like(W) for W in weights]
        total = 0
        for shard, (start, stop) in enumerate(itertools.pairwise(cuts)):
            locals_ = [W.astype(np.float32) for W in weights]
            mapped = open_shard(shards[shard], shard, "here").X
            plan = Plan(CheckedOptions(batch=16), 5, number, local_steps, False)
            for epoch, first, last in parts_of(stop - start, plan):
                order = epoch_order(mapped, 5, epoch, shard)[first:last]
                nn_epoch(X[start:stop], Y[start:stop], *locals_, lr=0.3, batch=16, order=order)
                total += len(order)
            counted = sum(last - first for _, first, last in parts_of(stop - start, plan))
            for average, W in zip(averages, locals_, strict=True):
                average += counted * W.astype(np.float64)
        for W, average, v in zip(weights, averages, velocities, strict=True):
            change = average / total - W
            momentum = getattr(outer, "momentum", 0.0)
            v[...] = momentum * v + 0.7 * change
            W += momentum * v + 0.7 * change if getattr(outer, "nesterov", False) else v
    for W, W_expected in zip(found.weights, weights, strict=True):
        np.testing.assert_allclose(W, W_expected, rtol=1e-5, atol=1e-6)
    assert not outer.state


@pytest.mark.parametrize(("rows", "batch", "local_steps"), [(75, 16, 3), (75, 16, 5), (75, 16, 12), (5, 16, 2)])
def test_rounds_of_local_steps_go_through_whole_epochs(rows, batch, local_steps):
    plan = Plan(CheckedOptions(batch=batch), 0, 0, local_steps, False)
    found = [part for number in range(10) for part in parts_of(rows, plan._replace(round=number))]
    steps = [
        (epoch, step, min(step + batch, stop)) for epoch, start, stop in found for step in range(start, stop, batch)
    ]
    per_epoch = -(-rows // batch)
    wanted = [divmod(step, per_epoch) for step in range(10 * local_steps)]
    assert steps == [(epoch, step * batch, min((step + 1) * batch, rows)) for epoch, step in wanted]


def test_options_are_those_of_one_machine(client):
    weights, optimizer = np.random.default_rng(0).random(len(X)), Momentum()
    settings = {"lr": 0.01, "batch": 16, "bias": True, "l2": 0.1, "last_batch": "mean", "verbose": False}
    settings |= {"scale": np.full(12, 0.5), "shift": np.full(12, 0.1)}
    arrays = X, Y, weights
    found = train_softmax(client, [lambda: arrays], rounds=1, optimizer=optimizer, **settings)
    assert not optimizer.state
    settings |= {"sample_weight": weights, "optimizer": optimizer, "shuffle": True}
    assert_same_run(found, fastml.train_softmax(X, Y, epochs=1, **settings))
    np.testing.assert_array_equal(found.weights.shift, settings["shift"])


def test_the_optimizer_starts_anew_in_each_round(client):
    arrays, settings = (X, Y), {"lr": 0.01, "batch": 16, "bias": True, "verbose": False}
    found = train_softmax(client, [lambda: arrays], rounds=2, optimizer=Momentum(), **settings)
    first = train_softmax(client, [lambda: arrays], rounds=1, optimizer=Momentum(), **settings)
    theta, bias, order = first.weights[0], first.weights.biases["bias"], epoch_order(X, 0, 1)
    softmax_regression_epoch(X, Y, theta, 0.01, 16, bias=bias, order=order, optimizer=Momentum())
    np.testing.assert_array_equal(found.weights[0], theta)


def test_killed_workers_cost_no_bit(client, files, tmp_path):
    array, labels = np.load(files[0]), np.load(files[1])

    def shard(number):
        def load():
            key = distributed.get_worker().get_current_task()
            marker = tmp_path / f"killed-{number}"
            if number % 2 and key.startswith("train_shard") and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            start, stop = number * len(array) // SHARDS, (number + 1) * len(array) // SHARDS
            return array[start:stop], labels[start:stop]

        return load

    found = train_nn(client, [shard(number) for number in range(SHARDS)], X_TEST, Y_TEST, **NN)
    assert len(list(tmp_path.iterdir())) == SHARDS // 2
    undisturbed = train_nn(client, [shard(number) for number in range(SHARDS)], X_TEST, Y_TEST, **NN)
    assert_same_run(found, undisturbed)


def failing(directory, arrays, round_, times):
    """Return the function of a shard that fails at its training in a round, so often."""

    def load():
        key = distributed.get_worker().get_current_task()
        if key.startswith("train_shard"):
            Path(directory, f"attempt-{key}-{os.urandom(8).hex()}").touch()
            keys = {path.name.rpartition("-")[0] for path in Path(directory).iterdir()}
            attempts = len(list(Path(directory).glob(f"attempt-{key}-*")))
            if len(keys) == round_ and attempts <= times:
                raise OSError("the disk is on fire")
        return arrays

    return load


def test_a_task_may_fail_twice(client, tmp_path):
    arrays = X, Y
    found = train_softmax(client, [failing(tmp_path, arrays, 2, times=2)], **SETTINGS)
    assert_same_run(found, train_softmax(client, [lambda: arrays], **SETTINGS))
    assert len(list(tmp_path.iterdir())) == 3 + 2


def test_a_task_that_fails_three_times_ends_the_run_and_leaves_the_checkpoint(client, tmp_path):
    arrays, attempts = (X, Y), tmp_path / "attempts"
    attempts.mkdir()
    shard = failing(attempts, arrays, 2, times=3)
    with pytest.raises(RuntimeError, match=r"shards\[0\] failed on worker tcp://.*the disk is on fire"):
        train_softmax(client, [shard], checkpoint=tmp_path / "run", **SETTINGS)
    assert len(list(attempts.iterdir())) == 1 + 3
    resumed = train_softmax(client, [lambda: arrays], checkpoint=tmp_path / "run", resume=True, **SETTINGS)
    assert_same_run(resumed, train_softmax(client, [lambda: arrays], **SETTINGS))


def test_a_task_that_kills_its_workers_is_given_up(tmp_path):
    def load():
        if distributed.get_worker().get_current_task().startswith("train_shard"):
            os.kill(os.getpid(), signal.SIGKILL)
        return X, Y

    settings = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(**settings) as cluster,
        distributed.Client(cluster) as client,
        pytest.raises(RuntimeError, match=r"train_shard-.* has failed because its workers died"),
    ):
        train_softmax(client, [load], **SETTINGS)


@pytest.mark.parametrize("outer", [None, Momentum()], ids=["averaging", "nesterov"])
def test_resumed_run_has_the_same_bits(client, shards, tmp_path, outer):
    settings = NN | {"outer": outer, "outer_lr": 0.7}
    kept = settings | {"checkpoint": tmp_path / "run"}
    train_nn(client, shards, X_TEST, Y_TEST, callback=lambda history: len(history) == 2, **kept)
    resumed = train_nn(client, shards, X_TEST, Y_TEST, resume=True, **kept)
    assert_same_run(resumed, train_nn(client, shards, X_TEST, Y_TEST, **settings))
    with pytest.raises(CheckpointError, match="local_steps None, this one has 3"):
        train_nn(client, shards, X_TEST, Y_TEST, resume=True, local_steps=3, **kept)
    with pytest.raises(CheckpointError, match="has 3 rounds; rounds must be at least as many, got 1"):
        train_nn(client, shards, X_TEST, Y_TEST, resume=True, **kept | {"rounds": 1})
    with pytest.raises(CheckpointError, match="shards"):
        train_nn(client, shards[::-1], X_TEST, Y_TEST, resume=True, **kept)


@pytest.mark.parametrize("error", [KeyboardInterrupt, Enough])
def test_an_exception_cancels_the_tasks(client, shards, error):
    def stop(done, total, loss):
        raise error

    with pytest.raises(error):
        train_nn(client, shards, progress=stop, **NN)
    while any(key.startswith("train_shard") for key in keys_of(client)):  # until the message arrives
        time.sleep(0.01)


def test_progress_and_table(client, shards, expected, capsys):
    calls = []
    history = train_nn(
        client, shards, X_TEST, Y_TEST, progress=lambda *call: calls.append(call), **NN | {"verbose": True}
    )
    assert_same_run(history, expected)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["| Round | Train Loss | Train Err | Test Loss | Test Err |", *map(str, history.rows)]
    assert [(done, total) for done, total, _ in calls] == [(75, 300), (150, 300), (225, 300), (300, 300)] * 6
    assert calls[-1][2] == pytest.approx(history[-1].train_loss)
    assert all(row.seconds > 0 for row in history.rows)


def test_a_task_has_the_threads_of_its_worker(tmp_path):
    def load():
        Path(tmp_path, str(numba.get_num_threads())).touch()
        return X, Y

    before = numba.get_num_threads()
    settings = {"processes": False, "n_workers": 1, "threads_per_worker": 2, "dashboard_address": ":0"}
    with distributed.Client(**settings) as client:
        train_softmax(client, [load] * 3, **SETTINGS)
    assert os.listdir(tmp_path) == [str(min(2, numba.config.NUMBA_NUM_THREADS))]
    assert numba.get_num_threads() == before


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A directory of three classes of 4 x 4 images under MNIST's names."""
    directory, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for which, count in (("train", 90), ("t10k", 30)):
        write_idx(directory / f"{which}-images-idx3-ubyte", random.integers(0, 256, (count, 4, 4), np.uint8))
        write_idx(directory / f"{which}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8) % 3)
    return directory


def test_command_trains_on_a_scheduler(client, images, tmp_path, capsys):
    argv = ["train", "--dask", client.scheduler.address, "--shards", "3", "--data", str(images), "--model", "softmax"]
    argv += ["--batch", "16", "--lr", "0.3", "--checkpoint", str(tmp_path / "run")]
    argv += ["--log", str(tmp_path / "log.jsonl"), "--save", str(tmp_path / "weights.npz")]
    train_set, (X_te, y_te) = load_mnist(images, raw=True)
    fastml.train_softmax(*train_set, epochs=1, batch=16, scale=1 / 255, verbose=False)  # compiles for the workers
    assert main([*argv, "--epochs", "1"]) == 0
    assert main([*argv, "--epochs", "2", "--resume"]) == 0
    weights, settings = load_weights(tmp_path / "weights.npz")
    used = {"rounds": 2, "lr": 0.3, "batch": 16, "scale": 1 / 255, "verbose": False}
    history = train_softmax(client, shards_of(images, 3), X_te, y_te, **used)
    np.testing.assert_array_equal(weights[0], history.weights[0])
    assert settings["shards"] == 3
    assert str(history[1]) in capsys.readouterr().out
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2


def test_command_has_local_workers():
    with command_cluster.connected(2, 2) as found:
        assert [worker["nthreads"] for worker in found.scheduler_info()["workers"].values()] == [1, 1]


def test_command_has_shards_of_mnist():
    shards, (_, y_te), rows = command_cluster.shards_and_test_set(None, 3)
    assert [len(shard()[1]) for shard in shards] == [20_000] * 3
    assert (rows, len(y_te)) == (60_000, 10_000)


@pytest.mark.parametrize(
    ("argv", "match"),
    [
        (["--dask", "nowhere"], "must be local, local:N or an address"),
        (["--dask", "local:0"], "must be at least 1"),
        (["--dask", "tcp://127.0.0.1:9"], "Timed out trying to connect to tcp://127.0.0.1:9"),
        (["--dask", "tcp://127.0.0.1:9", "--threads", "1"], "--threads is for local workers"),
        (["--dask", "local", "--deform"], "--deform is not available with --dask"),
        (["--dask", "local", "--standardize"], "--standardize is not available with --dask"),
        (["--shards", "2"], "--shards needs --dask"),
    ],
)
def test_command_rejects(capsys, monkeypatch, argv, match):
    monkeypatch.setattr(command_cluster, "CONNECT_SECONDS", 0.5)
    try:
        status = main(["train", *argv])
    except SystemExit as exit:
        status = exit.code
    assert status == 2
    assert match in capsys.readouterr().err.splitlines()[-1]


def arrays_of(shards):
    return [[np.asarray(part) for part in open_shard(shard, 0, "here") if part is not None] for shard in shards]


@pytest.mark.parametrize("count", [1, 3, 7])
def test_shards_of_paths_and_maps(files, tmp_path, count):
    write_idx(tmp_path / "images", np.arange(7 * 6, dtype=np.uint8).reshape(7, 2, 3))
    write_idx(tmp_path / "labels", np.arange(7, dtype=np.uint8))
    np.save(tmp_path / "weights.npy", np.arange(7.0))
    paths = [tmp_path / "images", tmp_path / "labels", tmp_path / "weights.npy"]
    maps = [open_idx(paths[0]), open_idx(paths[1]), np.load(paths[2], mmap_mode="r")]
    for data in (paths, [str(path) for path in paths], maps):
        shards = shards_of(data, count)
        found = arrays_of(shards)
        assert [len(y) for _, y, _ in found] == [len(part) for part in np.array_split(range(7), count)][::-1]
        for column, whole in enumerate(maps):
            joined = np.concatenate([shard[column] for shard in found])
            np.testing.assert_array_equal(joined, whole.reshape(joined.shape))


@pytest.mark.parametrize(
    ("data", "count", "match"),
    [
        ([X, Y], 2, "data must be maps of files"),
        (["X.npy"], 2, "data must be a directory, or the paths or maps"),
        (7, 2, "data must be a directory"),
        ("files", 0, "count must be at least 1"),
        ("files", 301, "count must be at most the number of rows, 300"),
        ("files", None, "count is missing"),
        ("uneven", 2, "data must have the same number of rows, got 300, 7"),
        ("missing", 2, "missing"),
    ],
)
def test_shards_of_rejects(files, tmp_path, data, count, match):
    np.save(tmp_path / "seven.npy", np.arange(7))
    named = {"files": files, "uneven": [files[0], tmp_path / "seven.npy"], "missing": [files[0], "missing"]}
    if isinstance(data, str):
        data = named[data]
    with pytest.raises((TypeError, ValueError, OSError), match=match):
        shards_of(data, count)


BAD = {
    "no shards": ([], {}, ValueError, "shards is empty"),
    "a path": ("X.npy", {}, TypeError, "shards must be a list"),
    "arrays": ([(X, Y)], {}, TypeError, r"shards\[0\] must be the paths .*tasks carry no arrays"),
    "widths": ([0, lambda: (X[:, :5], Y)], {}, ValueError, r"X of shards\[1\] must have 12 columns as shards\[0\]"),
    "labels": ([0, lambda: (X, Y - 1)], {}, ValueError, r"y of shards\[1\]\[.*\] is -1"),
    "classes": ([0], {"weights": [np.ones((12, 2), np.float32)]}, ValueError, r"shards\[0\] has label 2; .*\[0, 2\)"),
    "width of weights": ([0], {"weights": [np.ones((5, 3), np.float32)]}, ValueError, "5 columns as weights, got 12"),
    "test labels": ([0], {"X_te": X, "y_te": Y + 5}, ValueError, r"y_te\[0\] is"),
    "test width": ([0], {"X_te": X[:, :3], "y_te": Y}, ValueError, "X_te must have 12 columns"),
    "path": (
        [("/nowhere/X.npy", "/nowhere/y.npy")],
        {},
        OSError,
        "worker tcp://.* cannot read /nowhere/X.npy: No such",
    ),
    "no values": ([lambda: (X,)], {}, TypeError, r"shards\[0\] must return X, y"),
    "function": ([lambda: 1 / 0], {}, RuntimeError, r"function shards\[0\] failed on worker tcp://.*ZeroDivision"),
    "rows": ([lambda: (X, Y[:9])], {}, ValueError, r"y of shards\[0\] must be 1-D with 300 labels"),
    "rounds": ([0], {"rounds": -1}, ValueError, "rounds must be at least 0"),
    "local_steps": ([0], {"local_steps": 0}, ValueError, "local_steps must be at least 1"),
    "outer": ([0], {"outer": AdamW()}, TypeError, r"outer must be SGD\(\) or Momentum\(\)"),
    "lr": ([0], {"lr": float("nan")}, ValueError, "lr must be finite"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_error_before_the_first_round(client, shards, case, tmp_path):
    given, settings, error, match = BAD[case]
    if isinstance(given, list):
        given = [shards[0] if shard == 0 else shard for shard in given]
    with pytest.raises(error, match=match):
        train_softmax(client, given, checkpoint=tmp_path / "run", **SETTINGS | settings)
    assert not (tmp_path / "run").exists()


def test_an_element_that_is_not_finite_is_named(client):
    spoilt = X.copy()
    spoilt[7, 5] = np.nan
    with pytest.raises(
        FloatingPointError, match=r"training loss is nan after round 0: X of shards\[1\]\[7, 5\] is nan"
    ):
        train_softmax(client, [lambda: (X, Y), lambda: (spoilt, Y)], **SETTINGS)
    with pytest.raises(FloatingPointError, match="the weights have grown without bound"):
        train_nn(client, [lambda: (X, Y)], **NN | {"lr": 1e30})


def test_other_versions_are_rejected(client, shards, monkeypatch):
    versions = cluster_module.package_versions() | {"fastml": "9.9"}
    monkeypatch.setattr(cluster_module, "package_versions", lambda: versions)
    with pytest.raises(RuntimeError, match=r"worker tcp://.* has fastml .*, the driver has 9\.9"):
        train_softmax(client, shards, **SETTINGS)


def test_a_client_without_a_scheduler_is_rejected(shards):
    settings = {"processes": False, "n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.Client(**settings) as client:
        pass
    with pytest.raises(ConnectionError, match="client is closed"):
        train_softmax(client, shards, **SETTINGS)
    with pytest.raises(TypeError, match=r"client must be a distributed\.Client"):
        train_softmax("tcp://127.0.0.1:8786", shards, **SETTINGS)


def test_tasks_have_names(client, tmp_path):
    def load():
        with suppress(FileExistsError):
            Path(tmp_path, distributed.get_worker().get_current_task()).touch()
        return X, Y

    train_softmax(client, [load] * 2, **SETTINGS | {"rounds": 1})
    names = sorted(path.name.partition("-")[0] for path in tmp_path.iterdir())
    assert names == ["check_shard"] * 2 + ["evaluate_shard"] * 2 + ["train_shard"] * 2
