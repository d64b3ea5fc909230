"""Runs that stop and go on: the same bits wherever they stopped, and nothing but the same run goes on."""

import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

import fastml
from fastml import runs
from fastml.checkpoints import Checkpoint, CheckpointError
from fastml.cli import main
from fastml.cli.log import Log
from fastml.cli.signals import Stopped, stopping_between_slices
from fastml.datasets import write_idx
from fastml.epochs import run_epoch
from fastml.files import locked_directory
from fastml.history import EpochResult, History
from fastml.preparation import initial_weights
from fastml.weights import Weights, load_weights, save_weights
from tests.problems import make_problem

pytestmark = pytest.mark.usefixtures("one_batch_a_slice")
TRAIN = pytest.mark.parametrize("train", [fastml.train_softmax, fastml.train_nn])


class Enough(Exception):
    """Stops a run out of its progress."""


def stop_after(calls):
    """Return a progress that raises at that call."""
    left = calls

    def progress(done, total, loss):
        nonlocal left
        left -= 1
        if left == 0:
            raise Enough

    return progress


@pytest.fixture
def sets():
    problem = make_problem(330, 12, 8, 3, batch=16)
    return problem.X[:300], problem.y[:300], problem.X[300:], problem.y[300:]


def assert_same_run(history, expected):
    for W, W_expected in zip(history.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(W, W_expected, strict=True)
    assert [row[:-1] for row in history.rows] == [row[:-1] for row in expected.rows]


@TRAIN
@pytest.mark.parametrize(("batch", "last_batch"), [(16, "nominal"), (16, "mean"), (140, "mean"), (1000, "nominal")])
@pytest.mark.parametrize("shuffle", [False, True])
def test_run_stopped_anywhere_ends_with_the_same_bits(tmp_path, sets, train, batch, last_batch, shuffle):
    settings = {"epochs": 3, "batch": batch, "last_batch": last_batch, "shuffle": shuffle, "verbose": False}
    expected = train(*sets, **settings)
    random = np.random.default_rng(batch)
    stops, history = 0, None
    while history is None:
        try:
            # At first after each slice; but no run comes to its end that stops in every evaluation.
            progress = stop_after(1 if stops < 5 else random.integers(1, 9))
            history = train(*sets, **settings, checkpoint=tmp_path / "run", resume=stops > 0, progress=progress)
        except Enough:
            stops += 1
    assert_same_run(history, expected)
    again = train(*sets, **settings, checkpoint=tmp_path / "run", resume=True)
    assert_same_run(again, expected)
    assert [row.seconds for row in again.rows] == [row.seconds for row in history.rows]


@TRAIN
def test_deformed_run_stopped_anywhere_ends_with_the_same_bits(tmp_path, monkeypatch, sets, train):
    monkeypatch.setattr(runs, "DEFORMED_ROWS", 48)
    X, y, X_test, y_test = sets
    images = (X * 100).astype(np.uint8), y, (X_test * 100).astype(np.uint8), y_test
    settings = {"epochs": 2, "batch": 16, "shuffle": True, "deform": (3, 4), "scale": 0.01, "verbose": False}
    expected = train(*images, **settings)
    for stops in range(1, 60):
        with suppress(Enough):
            progress = stop_after(stops % 9 + 2)
            history = train(*images, **settings, checkpoint=tmp_path / "run", resume=stops > 1, progress=progress)
            break
    assert_same_run(history, expected)
    with pytest.raises(CheckpointError, match=r"deform \[3, 4\], this one has None"):
        train(*images, **{**settings, "deform": None}, checkpoint=tmp_path / "run", resume=True)


@TRAIN
def test_checkpoints_within_an_epoch_leave_the_bits(tmp_path, monkeypatch, sets, train):
    settings = {"epochs": 2, "batch": 16, "verbose": False}
    expected = train(*sets, **settings)
    rows = []
    save = Checkpoint.save
    monkeypatch.setattr(Checkpoint, "save", lambda self, *state: rows.append(state[1]) or save(self, *state))
    monkeypatch.setattr(runs, "CHECKPOINT_SECONDS", 0.0)
    assert_same_run(train(*sets, **settings, checkpoint=tmp_path), expected)
    assert rows == 2 * [0, *range(16, 300, 16), 300] + [0]


def test_interrupt_within_a_slice_leaves_the_last_checkpoint(tmp_path, monkeypatch, sets):
    def interrupted(data, *arguments):
        run_epoch(data._replace(X=data.X[:32], y=data.y[:32]), *arguments)
        if len(data.X) > 1:  # not the example that loads the kernels
            raise KeyboardInterrupt

    settings = {"epochs": 1, "batch": 16, "verbose": False}
    with monkeypatch.context() as patches:
        patches.setattr("fastml.runs.run_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fastml.train_nn(*sets, **settings, checkpoint=tmp_path)
    history = fastml.train_nn(*sets, **settings, checkpoint=tmp_path, resume=True)
    assert_same_run(history, fastml.train_nn(*sets, **settings))


@TRAIN
def test_resume_without_a_checkpoint_starts(tmp_path, sets, train):
    settings = {"epochs": 2, "batch": 16, "verbose": False}
    history = train(*sets, **settings, checkpoint=tmp_path / "new", resume=True)
    assert history == train(*sets, **settings)
    assert train(*sets, **settings, checkpoint=tmp_path / "new", resume=True) == history


@TRAIN
def test_an_exception_has_the_history_so_far(sets, train):
    with pytest.raises(Enough) as stopped:
        train(*sets, epochs=3, batch=16, verbose=False, progress=stop_after(35))  # in the second epoch
    history = stopped.value.history
    whole = train(*sets, epochs=1, batch=16, verbose=False)
    assert history.rows[0][:-1] == whole[0][:-1]
    assert history.weights != whole.weights


@TRAIN
def test_stop_in_an_evaluation_keeps_the_epoch_before_it(tmp_path, sets, train):
    def progress(done, total, loss):
        if total == len(sets[2]):
            raise Enough

    with pytest.raises(Enough):
        train(*sets, epochs=2, verbose=False, checkpoint=tmp_path, progress=progress)
    _, settings = load_weights(tmp_path / "checkpoint.npz")
    assert (settings["history"], settings["row"]) == ([], 300)
    assert settings["seconds"] > 0


def test_more_epochs_follow_unless_the_schedule_forbids(tmp_path, sets):
    for schedule in ("constant", "cosine"):
        settings = {"batch": 16, "schedule": schedule, "verbose": False, "checkpoint": tmp_path / schedule}
        fastml.train_softmax(*sets, epochs=2, **settings)
        if schedule == "constant":
            history = fastml.train_softmax(*sets, epochs=3, resume=True, **settings)
            assert_same_run(history, fastml.train_softmax(*sets, epochs=3, batch=16, verbose=False))
        else:
            with pytest.raises(CheckpointError, match="schedule 'cosine over 2 epochs', this one has 'cosine over 3"):
                fastml.train_softmax(*sets, epochs=3, resume=True, **settings)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_50_kills(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    argv = [sys.executable, "-m", "tests.killed_run", str(tmp_path)]
    completed = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120)
    assert completed.returncode == 0, completed.stderr
    assert int(completed.stdout) >= 1


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    write_data(directory, num_classes=3)
    return directory


def write_data(directory, num_classes):
    random = np.random.default_rng(0)
    for which, count in (("train", 300), ("t10k", 60)):
        labels = np.arange(count, dtype=np.uint8) % num_classes
        write_idx(directory / f"{which}-images-idx3-ubyte", random.integers(0, 256, (count, 4, 4), np.uint8))
        write_idx(directory / f"{which}-labels-idx1-ubyte", labels)


def command(data, directory, *more):
    settings = ["--epochs", "3", "--batch", "10", "--shuffle"]
    settings += [] if "softmax" in more else ["--hidden", "8"]
    return ["train", "--data", str(data), *settings, "--checkpoint", str(directory), *map(str, more)]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("slice", [1, 4, 11, 50])
def test_signal_stops_the_command_with_a_checkpoint(capsys, monkeypatch, tmp_path, data, signum, slice):
    @contextmanager
    def signalling(*arguments):
        def progress(done, total, loss):
            nonlocal slice
            slice -= 1
            if slice == 0:
                signal.raise_signal(signum)

        yield progress

    whole, parts = tmp_path / "whole.npz", tmp_path / "parts.npz"
    assert main(command(data, tmp_path / "whole", "--save", whole, "--log", tmp_path / "whole.jsonl")) == 0
    table = capsys.readouterr().out.splitlines()
    handlers = [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]
    argv = command(data, tmp_path / "parts", "--save", parts, "--log", tmp_path / "parts.jsonl")
    with monkeypatch.context() as patches:
        patches.setattr("fastml.cli.train.progress_unless_quiet", signalling)
        assert main(argv) == 128 + signum
    out, err = capsys.readouterr()
    message = f"stopped; the run is kept in {tmp_path / 'parts'}: the same command with --resume continues the run"
    assert err == f"fastml: {message}\n"
    assert [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)] == handlers
    assert not parts.exists()

    assert main([*argv, "--resume"]) == 0
    resumed = capsys.readouterr().out.splitlines()
    assert out.splitlines() + resumed[1:-1] == table[:-1]
    for W, expected in zip(load_weights(parts)[0], load_weights(whole)[0], strict=True):
        np.testing.assert_array_equal(W, expected, strict=True)
    logs = [list(map(json.loads, path.read_text().splitlines())) for path in tmp_path.glob("*.jsonl")]
    for line in logs[0] + logs[1]:
        assert line.pop("seconds") > 0
    assert logs[0] == logs[1]
    assert [line["epoch"] for line in logs[0]] == [0, 1, 2]


def test_second_signal_has_its_usual_effect():
    stopping = stopping_between_slices(None, "kept")
    progress = stopping.__enter__()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(Stopped, match="kept"):
        progress(1, 1, 0.5)


def test_signal_after_the_last_slice_stops_the_command_too():
    stopping = stopping_between_slices(None, "kept")
    progress = stopping.__enter__()
    progress(1, 1, 0.5)
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(Stopped, match="kept") as info:
        stopping.__exit__(None, None, None)
    assert info.value.signum == signal.SIGTERM


def test_ignored_signal_stays_ignored():
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping_between_slices(None, "stopped") as progress:
            signal.raise_signal(signal.SIGINT)
            progress(1, 1, 0.5)
    finally:
        signal.signal(signal.SIGINT, usual)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data):
    """The bytes of a finished run's checkpoint."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    assert main(command(data, directory)) == 0
    return (directory / "checkpoint.npz").read_bytes()


def refuse(capsys, argv):
    """Return the one line on stderr that ends the command with status 2."""
    capsys.readouterr()
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    # In a process of a cold cache a notice that kernels are compiled may come before.
    *_, line = err.splitlines()
    assert line.startswith("fastml: error: ")
    assert "Traceback" not in err
    return line


def test_checkpoint_in_the_way(capsys, tmp_path, data, finished):
    (tmp_path / "checkpoint.npz").write_bytes(finished)
    assert "exists already" in refuse(capsys, command(data, tmp_path))
    assert (tmp_path / "checkpoint.npz").read_bytes() == finished


@pytest.mark.parametrize("resume", [False, True])
def test_directory_of_a_run_that_goes_on(capsys, tmp_path, data, finished, resume):
    if resume:
        (tmp_path / "checkpoint.npz").write_bytes(finished)
    before = list(tmp_path.iterdir())
    argv = command(data, tmp_path, *["--resume"] * resume)
    with locked_directory(tmp_path):
        assert f"another process is writing there: '{tmp_path}'" in refuse(capsys, argv)
    assert list(tmp_path.iterdir()) == before
    assert main(argv) == 0


def test_nothing_to_resume(capsys, tmp_path, data):
    assert "--resume needs --checkpoint" in refuse(capsys, ["train", "--resume"])
    assert "No such file" in refuse(capsys, command(data, tmp_path / "no" / "run"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (["--hidden", "9"], "weights of shapes [[16, 8], [8, 3]], this one has [[16, 9], [9, 3]]"),
        (["--model", "softmax"], "weights of shapes"),
        (["--lr", "0.5"], "lr 0.2, this one has 0.5"),
        (["--batch", "20"], "batch 10, this one has 20"),
        (["--seed", "7"], "seed 0, this one has 7"),
        (["--schedule", "step"], "schedule 'constant', this one has 'step over 3 epochs'"),
        (["--epochs", "2"], "in epoch 3; epochs must be at least 3, got 2"),
    ],
)
def test_checkpoint_of_another_run(capsys, tmp_path, data, finished, more, match):
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(finished)
    log = tmp_path / "log.jsonl"
    line = refuse(capsys, command(data, tmp_path, *more, "--resume", "--log", log))
    assert str(path) in line
    assert match in line
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == finished


@pytest.mark.parametrize("num_classes", [3, 4])
def test_checkpoint_of_other_data(capsys, tmp_path, data, finished, num_classes):
    (tmp_path / "checkpoint.npz").write_bytes(finished)
    write_data(tmp_path, num_classes)
    if num_classes == 3:
        write_idx(tmp_path / "train-labels-idx1-ubyte", np.arange(300, dtype=np.uint8)[::-1] % 3)
    match = {3: "training set '300 x 16 |u1, digest", 4: "weights of shapes [[16, 8], [8, 3]], this one has [[16, 8]"}
    assert match[num_classes] in refuse(capsys, command(tmp_path, tmp_path, "--resume"))


def change(finished, path, **changed):
    """Write a checkpoint whose settings are changed, or with a value of None left out."""
    weights, settings = load_from(finished, path)
    settings = {name: value for name, value in (settings | changed).items() if value is not None}
    save_weights(path, weights, settings)


def load_from(finished, path):
    path.write_bytes(finished)
    return load_weights(path)


ROW = [0, 1.0, 0.5, 1.0, 0.5, 0.1]


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"run": None}, "no run to resume"),
        ({"run": 3}, "no run to resume"),
        ({"run": {}}, "weights of shapes None"),
        ({"row": 7}, "no run can reach"),
        ({"row": -10}, "no run can reach"),
        ({"row": 310}, "no run can reach"),
        ({"row": 10.0}, "no run can reach"),
        ({"row": True}, "no run can reach"),
        ({"seconds": "1"}, "no run can reach"),
        ({"history": {}}, "no run can reach"),
        ({"history": [ROW, ROW]}, "no run can reach"),
        ({"history": [ROW[:-1]]}, "no run can reach"),
        ({"history": [[*ROW[:-1], "1"]]}, "no run can reach"),
        ({"history": [[*ROW[:-1], 0.0]]}, "no run can reach"),
    ],
)
def test_checkpoint_with_a_state_that_cannot_be(capsys, tmp_path, data, finished, changed, match):
    change(finished, tmp_path / "checkpoint.npz", **changed)
    assert match in refuse(capsys, command(data, tmp_path, "--resume"))


def test_checkpoint_whose_weights_are_not_as_it_says(capsys, tmp_path, data, finished):
    path = tmp_path / "checkpoint.npz"
    weights, settings = load_from(finished, path)
    save_weights(path, tuple(W.astype(np.float64) for W in weights), settings)
    assert "other shapes or dtypes than its settings say" in refuse(capsys, command(data, tmp_path, "--resume"))


def test_damaged_checkpoints(capsys, tmp_path, data, finished):
    path = tmp_path / "checkpoint.npz"
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("W1", "W2", "settings"):
            archive.writestr(f"{name}.npy", bytes(1 << 24))
    for damaged in (b"", finished[:-1], finished[: len(finished) // 2], bomb.getvalue()):
        path.write_bytes(damaged)
        assert f"{path} is no file of weights" in refuse(capsys, command(data, tmp_path, "--resume"))
        assert path.read_bytes() == damaged


def test_a_log_of_another_run_gets_all_epochs_of_this_one(capsys, tmp_path, data):
    log, directory = tmp_path / "log.jsonl", tmp_path / "kept"
    assert main(command(data, tmp_path / "other", "--seed", "1", "--log", log)) == 0
    other = log.read_text()
    assert main(command(data, directory, "--log", tmp_path / "alone.jsonl")) == 0
    # A run that was killed before its first line.
    checkpoint = directory / "checkpoint.npz"
    (W1, W2), settings = weights, _ = load_weights(checkpoint)
    begun = Weights(initial_weights((*W1.shape, W2.shape[1]), seed=0), {}, weights.scale)
    save_weights(checkpoint, begun, settings | {"history": [], "row": 0, "seconds": 0.0})
    capsys.readouterr()
    assert main(command(data, directory, "--log", log, "--resume")) == 0
    assert f"{log} holds another run; all epochs of this run will follow" in capsys.readouterr().err
    assert log.read_text().startswith(other)
    found, expected = (
        [line | {"seconds": None} for line in map(json.loads, text.splitlines())]
        for text in (log.read_text().removeprefix(other), (tmp_path / "alone.jsonl").read_text())
    )
    assert found == expected
    assert [line["epoch"] for line in found] == [0, 1, 2]


def test_a_log_of_several_runs_goes_on_after_the_last_line_of_each(tmp_path):
    log, rows = tmp_path / "log.jsonl", [EpochResult(epoch, *[0.5] * 7) for epoch in range(4)]
    Log(log, resume=False, run="a")(History((), rows[:2]))
    Log(log, resume=False, run="b")(History((), rows[:3]))
    Log(log, resume=True, run="a")(History((), rows))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["run"], line["epoch"]) for line in lines] == [*zip("aabbbaa", [0, 1, 0, 1, 2, 2, 3], strict=True)]


def test_empty_log_begins(tmp_path):
    (tmp_path / "log.jsonl").touch()
    assert Log(tmp_path / "log.jsonl", resume=True, run="").logged == 0


def test_log_that_cannot_go_on(capsys, tmp_path, data, finished):
    (tmp_path / "checkpoint.npz").write_bytes(finished)
    log = tmp_path / "log.jsonl"
    for text in ('{"epoch": 1}', "epoch\n", "[]\n", '{"epoch": "one"}\n'):
        log.write_text(text)
        message = refuse(capsys, command(data, tmp_path, "--resume", "--log", log))
        assert f"{log} is not the result of an epoch" in message
        assert log.read_text() == text
