import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import tracemalloc
import warnings
from collections import Counter
from contextlib import nullcontext

import numba
import numpy as np
import pytest

from fastml import evaluate, predict, predict_proba, roofline, train_nn, train_softmax
from fastml.cli import COMMANDS, main, make_parser
from fastml.cli.arguments import count_up_to
from fastml.cli.evaluate import format_matrix
from fastml.cli.signals import Terminated, raising_at_sigterm
from fastml.datasets import load_mnist, write_idx
from fastml.history import table_head
from fastml.optimizers import AdamW
from fastml.progress import progress_bar
from fastml.weights import Weights, load_weights, save_weights

NUM_EXAMPLES, NUM_CLASSES = 300, 3
ROW = re.compile(r"\|  [ \d]{4} \|    \d\.\d{5} \|   [01]\.\d{5} \|   \d\.\d{5} \|  [01]\.\d{5} \|")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A directory of three classes of 4 x 4 images, each bright in its own row, in noise."""
    directory = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for which, count in (("train", NUM_EXAMPLES), ("t10k", 90)):
        labels = np.arange(count, dtype=np.uint8) % NUM_CLASSES
        images = random.integers(0, 160, (count, 4, 4), np.uint8)
        images[np.arange(count), labels] += 80
        write_idx(directory / f"{which}-images-idx3-ubyte", images)
        write_idx(directory / f"{which}-labels-idx1-ubyte", labels)
    return str(directory)


@pytest.fixture
def weights_file(tmp_path):
    path = tmp_path / "weights.npz"
    random = np.random.default_rng(0)
    save_weights(path, (random.standard_normal((16, NUM_CLASSES)).astype(np.float32),), {})
    return path


@pytest.fixture(autouse=True)
def same_threads_after():
    threads = numba.get_num_threads()
    yield
    numba.set_num_threads(threads)


def refuse(capsys, argv, status=2):
    """Return the one line on stderr that ends the command with that status."""
    try:
        found = main([str(argument) for argument in argv])
    except SystemExit as exit:
        found = exit.code
    captured = capsys.readouterr()
    assert found == status
    assert "Traceback" not in captured.err
    *_, line = captured.err.splitlines()
    assert re.match(r"fastml( train| evaluate| predict)?: error: \S", line)
    return line


@pytest.mark.parametrize(
    ("model", "train", "settings"),
    [
        ("nn", train_nn, {"hidden_dim": 8}),
        ("softmax", train_softmax, {}),
    ],
)
def test_train_prints_what_the_library_trains_and_saves_its_weights(capsys, tmp_path, data, model, train, settings):
    saved = tmp_path / "weights.npz"
    argv = ["train", "--model", model, "--seed", "5", "--epochs", "3", "--lr", "0.5", "--batch", "7"]
    argv += ["--hidden", "8"] if model == "nn" else []
    argv += ["--shuffle", "--schedule", "cosine", "--deform"]
    assert main([*argv, "--data", data, "--save", str(saved), "--threads", "1"]) == 0
    assert numba.get_num_threads() == 1
    *table, summary = capsys.readouterr().out.splitlines()

    train_set, test_set = load_mnist(data, raw=True)
    settings |= {"lr": 0.5, "batch": 7, "seed": 5, "shuffle": True, "schedule": "cosine", "deform": [4, 4]}
    history = train(*train_set, *test_set, epochs=3, scale=1 / 255, **settings)
    assert table == capsys.readouterr().out.splitlines()
    assert table[0] == table_head(has_valid=False, has_test=True)
    assert len(table) == 4
    assert all(ROW.fullmatch(row) for row in table[1:])
    assert re.fullmatch(r"test error \d+\.\d\d%; \d+\.\d\d s of training, [\d,]+ examples per second", summary)
    weights, found = load_weights(saved)
    added = {"optimizer": "SGD()", "l2": 0.0, "bias": False, "standardize": False, "warmup_epochs": 0}
    saved_history = found.pop("history")
    assert found == {"model": model, "epochs": 3, **settings, **added}
    assert saved_history["test_loss"] == [row.test_loss for row in history]
    assert (weights.scale, weights.shift) == (1 / 255, 0)
    for W, expected in zip(weights, history.weights, strict=True):
        np.testing.assert_array_equal(W, expected, strict=True)


@pytest.mark.parametrize("model", ["nn", "softmax"])
def test_train_with_options_saves_weights_that_evaluate_takes(capsys, tmp_path, data, model):
    saved = tmp_path / "weights.npz"
    argv = ["train", "--model", model, "--epochs", "2", "--batch", "7", "--lr", "0.01", "--data", data]
    argv += ["--hidden", "8"] if model == "nn" else []
    argv += ["--optimizer", "adamw", "--decay", "0.1", "--bias", "--standardize", "--l2", "0.1", "--warmup", "1"]
    assert main([*argv, "--save", str(saved)]) == 0
    *_, last, _ = capsys.readouterr().out.splitlines()
    weights, settings = load_weights(saved)
    assert settings["optimizer"] == repr(AdamW(decay=0.1))
    assert set(weights.biases) == ({"b1", "b2"} if model == "nn" else {"bias"})
    assert weights.scale.shape == weights.shift.shape == (len(weights[0]),)
    _, (X, y) = load_mnist(data, raw=True)
    loss, err = evaluate(X, y, *weights, **weights.keywords)
    assert f"{loss:.5f}" in last
    assert main(["evaluate", str(saved), "--data", data]) == 0
    assert f"test loss {loss:.5f}, test error {err:.2%}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (["--momentum", "0.5"], "--momentum needs --optimizer momentum or nesterov, got sgd"),
        (["--optimizer", "nesterov", "--decay", "0.1"], "--decay needs --optimizer adamw, got nesterov"),
        (["--optimizer", "momentum", "--momentum", "1"], "momentum must lie in [0, 1), got 1.0"),
        (["--optimizer", "adamw", "--decay", "-1"], "decay must be at least 0"),
        (["--l2", "-1"], "l2 must be at least 0"),
        (["--lr", "-0.1"], "lr must be at least 0, got -0.1"),
        (["--model", "softmax"], "--hidden needs --model nn, got softmax"),
    ],
)
def test_train_refuses_options_that_do_not_fit(capsys, data, more, match):
    assert main(["train", "--data", data, "--hidden", "8", *more]) == 2
    assert match in capsys.readouterr().err


def test_evaluate_prints_loss_error_and_confusion_matrix(capsys, tmp_path, data, weights_file):
    picture = tmp_path / "confusion.png"
    assert main(["evaluate", str(weights_file), "--data", data, "--plot", str(picture)]) == 0
    first, second, *table = capsys.readouterr().out.splitlines()
    (theta,), _ = load_weights(weights_file)
    _, (X, y) = load_mnist(data, raw=True)
    loss, err = evaluate(X, y, theta, scale=1 / 255)
    assert first == f"test loss {loss:.5f}, test error {err:.2%} of 90 examples"
    assert second == "rows: true class, columns: predicted class"
    head, *rows = (list(map(int, line.split())) for line in table)
    assert head == [0, 1, 2]
    predictions = predict(X, theta, scale=1 / 255)
    for true, row in enumerate(rows):
        assert row == [true, *(np.count_nonzero(predictions[y == true] == k) for k in range(NUM_CLASSES))]
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("num_classes", [100, 101, 12_000])
def test_of_many_classes_the_most_confused_pairs_are_printed(capsys, tmp_path, data, num_classes):
    theta = np.zeros((16, num_classes), np.float32)
    theta[:, num_classes - 1], theta[0, 0] = 1, 100  # the last class, but the first where its row is bright
    save_weights(tmp_path / "weights.npz", (theta,), {})
    tracemalloc.start()
    try:
        assert main(["evaluate", str(tmp_path / "weights.npz"), "--data", data]) == 0
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
    _, head, *lines = capsys.readouterr().out.splitlines()
    if num_classes == 100:
        assert len(lines) == 101
        return
    _, (X, y) = load_mnist(data, raw=True)
    confused = Counter(zip(y.tolist(), predict(X, theta, scale=1 / 255).tolist(), strict=True))
    confused = Counter({pair: count for pair, count in confused.items() if pair[0] != pair[1]})
    assert head.startswith(f"{len(confused)} pairs of classes are confused")
    found = [tuple(map(int, line.split())) for line in lines]
    assert [count for *_, count in found] == sorted(confused.values(), reverse=True)
    assert {tuple(pair): count for *pair, count in found} == confused


def test_a_matrix_of_too_many_classes_is_not_drawn(capsys, tmp_path, data):
    save_weights(tmp_path / "weights.npz", (np.zeros((16, 257), np.float32),), {})
    argv = ["evaluate", tmp_path / "weights.npz", "--data", data, "--plot", tmp_path / "matrix.png"]
    assert "--plot draws at most 256 classes" in refuse(capsys, argv)
    assert not (tmp_path / "matrix.png").exists()


@pytest.mark.parametrize("picture", ["confusion", "mistakes", "calibration", "weights"])
def test_evaluate_draws_pictures(tmp_path, data, weights_file, picture):
    path = tmp_path / "picture.svg"
    argv = ["evaluate", str(weights_file), "--data", data, "--plot", str(path), "--picture", picture]
    assert main(argv) == 0
    assert path.read_bytes().startswith(b"<?xml")


def test_evaluate_has_one_scale_for_the_error_and_the_matrix(capsys, tmp_path, data):
    # With a bias, the scale of the pixels changes predictions.
    random = np.random.default_rng(1)
    theta, bias = random.standard_normal((16, 3)), 20 * random.standard_normal(3)
    save_weights(tmp_path / "w.npz", Weights([theta], {"bias": bias}), {})
    assert main(["evaluate", str(tmp_path / "w.npz"), "--data", data]) == 0
    first, _, _, *rows = capsys.readouterr().out.splitlines()
    matrix = np.array([line.split()[1:] for line in rows], int)
    _, (X, y) = load_mnist(data, raw=True)
    err = evaluate(X, y, theta, bias=bias, scale=1 / 255)[1]
    assert f"error {err:.2%} of" in first
    assert 1 - np.trace(matrix) / matrix.sum() == pytest.approx(err)
    assert err != evaluate(X, y, theta, bias=bias)[1]


def test_evaluate_knows_the_classes_of_an_estimator(capsys, tmp_path, data, weights_file):
    weights, _ = load_weights(weights_file)
    path, classes = tmp_path / "estimator.npz", {"dtype": "<i8", "labels": [0, 2, 1]}
    save_weights(path, weights, {"classes": classes, "input": "uint8"})
    assert main(["evaluate", str(path), "--data", data]) == 0
    _, (X, y) = load_mnist(data, raw=True)
    loss, err = evaluate(X, np.array([0, 2, 1])[y], *weights)
    assert f"test loss {loss:.5f}, test error {err:.2%} of 90 examples" in capsys.readouterr().out
    save_weights(path, weights, {"classes": classes | {"labels": ["a", "b", "c"]}})
    assert "are ['a', 'b', 'c'], and the test set has label 0" in refuse(capsys, ["evaluate", path, "--data", data])


@pytest.mark.parametrize("to_file", [False, True])
def test_predict_writes_labels_or_probabilities(capsys, tmp_path, data, weights_file, to_file):
    (theta,), _ = load_weights(weights_file)
    _, (X, _) = load_mnist(data, raw=True)
    labels, probabilities = predict(X, theta, scale=1 / 255), predict_proba(X, theta, scale=1 / 255)

    def lines_of(*more):
        path = tmp_path / "out.csv"
        argv = ["predict", str(weights_file), "--data", data, *more, *(["--csv", str(path)] if to_file else [])]
        assert main(argv) == 0
        printed = capsys.readouterr().out
        assert (printed == "") == to_file
        return (path.read_text() if to_file else printed).splitlines()

    assert lines_of() == ["label", *map(str, labels)]
    assert lines_of("--kaggle") == ["ImageId,Label", *(f"{i},{label}" for i, label in enumerate(labels, 1))]
    head, *rows = lines_of("--probabilities")
    assert head == "0,1,2"
    np.testing.assert_array_equal(np.array([row.split(",") for row in rows], np.float32), probabilities)


def test_predict_writes_the_labels_of_an_estimator(capsys, tmp_path, data, weights_file):
    (theta,), _ = load_weights(weights_file)
    save_weights(tmp_path / "w.npz", (theta,), {"classes": {"dtype": "<U3", "labels": ["ant", "bee", "cat"]}})
    assert main(["predict", str(tmp_path / "w.npz"), "--data", data]) == 0
    _, (X, _) = load_mnist(data, raw=True)
    names = np.array(["ant", "bee", "cat"])[predict(X, theta, scale=1 / 255)]
    assert capsys.readouterr().out.splitlines() == ["label", *names]


@pytest.mark.parametrize("classes", [{}, {"labels": "abc"}, {"labels": [0, 1]}])
@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_file_with_labels_of_other_classes_is_refused(capsys, tmp_path, data, weights_file, command, classes):
    weights, _ = load_weights(weights_file)
    save_weights(tmp_path / "w.npz", weights, {"classes": classes})
    line = refuse(capsys, [command, tmp_path / "w.npz", "--data", data])
    assert "the settings must have 3 labels, one for each class, got" in line


def test_matrix_is_aligned():
    matrix = np.diag(np.arange(11))
    matrix[10, 0] = 1000
    lines = format_matrix(matrix).splitlines()
    assert lines[0] == "       0     1     2     3     4     5     6     7     8     9    10"
    assert lines[11] == "10  1000     0     0     0     0     0     0     0     0     0    10"


def test_plot_of_a_training_run(tmp_path, data):
    picture = tmp_path / "curves.png"
    assert main(["train", "--hidden", "4", "--epochs", "1", "--data", data, "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_info(capsys):
    assert main(["info"]) == 0
    facts = dict(re.split(r"  +", line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert facts["numpy"] == np.__version__
    assert facts["numba"] == numba.__version__
    assert facts["threads"] == f"{numba.get_num_threads()}, on {numba.threading_layer()}"
    assert re.fullmatch(r"[\w-]+, vectors of (128|256|512) bits", facts["compiled for"])
    assert "cache" in facts
    assert "read bandwidth" not in facts


def test_info_as_json(capsys):
    assert main(["info"]) == 0
    facts = dict(re.split(r"  +", line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert main(["info", "--json"]) == 0
    assert {name: str(fact) for name, fact in json.loads(capsys.readouterr().out).items()} == facts


def test_info_roofline(capsys, monkeypatch):
    monkeypatch.setattr(roofline, "STEPS", 1000)
    monkeypatch.setattr(roofline, "READ_SHAPE", (4, 1024))
    numba.set_num_threads(1)
    assert main(["info", "--roofline"]) == 0
    facts = dict(re.split(r"  +", line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert re.fullmatch(r"\d+ GFLOP/s on 1 thread", facts["float32 FMA peak"])
    assert re.fullmatch(r"\d+ GFLOP/s on 1 thread", facts["float64 FMA peak"])
    assert re.fullmatch(r"\d+\.\d GB/s on 1 thread", facts["read bandwidth"])


@pytest.mark.parametrize(
    ("argv", "match"),
    [
        ([], "required"),
        (["fly"], "invalid choice: 'fly'"),
        (["evaluate"], "required: FILE.npz"),
        (["train", "--model", "tree"], "invalid choice: 'tree'"),
        (["train", "--hidden", "0"], "--hidden: must be at least 1, got 0"),
        (["train", "--epochs", "0"], "--epochs: must be at least 1, got 0"),
        (["train", "--batch", "1.5"], "--batch: invalid integer value: '1.5'"),
        (["train", "--lr", "fast"], "--lr: invalid real value: 'fast'"),
        (["train", "--lr", "nan"], "--lr: must be finite, got nan"),
        (["train", "--seed", "-1"], "--seed: must be from 0 to 4294967295, got -1"),
        (["train", "--threads", "0"], "--threads: must be from 1 to"),
        (["train", "--threads", str(numba.config.NUMBA_NUM_THREADS + 1)], "--threads: must be from 1 to"),
        (["train", "--save", "weights"], "--save: must end in .npz, got weights"),
        (["train", "--plot", "curves.jpg"], "--plot: must end in .png or .svg or .pdf, got curves.jpg"),
        (["evaluate", "w.npz", "--plot", "m.gif"], "--plot: must end in .png or .svg or .pdf, got m.gif"),
        (["evaluate", "w.npz", "--picture", "tree"], "--picture: invalid choice: 'tree'"),
        (["predict", "w.npz", "--csv", "labels.txt"], "--csv: must end in .csv, got labels.txt"),
        (["predict", "w.npz", "--kaggle", "--probabilities"], "not allowed with argument --kaggle"),
    ],
)
def test_wrong_arguments(capsys, argv, match):
    assert match in refuse(capsys, argv)


@pytest.mark.parametrize(
    ("argv", "usage", "match"),
    [
        (["--verson"], "fastml [-h]", "unrecognized arguments: --verson; did you mean --version?"),
        (["--verson", "train"], "fastml [-h]", "unrecognized arguments: --verson; did you mean --version?"),
        (["-v"], "fastml [-h]", "unrecognized arguments: -v"),
        ([], "fastml [-h]", "the following arguments are required: COMMAND"),
        (["trian"], "fastml [-h]", "invalid choice: 'trian'.*; did you mean train?"),
        (["tell", "me"], "fastml [-h]", "invalid choice: 'tell'"),
        (["train", "--hiden", "10"], "fastml train", "unrecognized arguments: --hiden 10; did you mean --hidden?"),
        (["train", "--epohcs=10"], "fastml train", "unrecognized arguments: --epohcs=10; did you mean --epochs?"),
        (["train", "--zzz"], "fastml train", "unrecognized arguments: --zzz"),
        (["train", "more"], "fastml train", "unrecognized arguments: more"),
        (["train", "--schedule", "cosin"], "fastml train", "invalid choice: 'cosin'.*; did you mean cosine?"),
        (
            ["evaluate", "w.npz", "--plto", "x"],
            "fastml evaluate",
            "unrecognized arguments: --plto x; did you mean --plot?",
        ),
        (
            ["evaluate", "w.npz", "--dtaa", "x"],
            "fastml evaluate",
            "unrecognized arguments: --dtaa x; did you mean --data?",
        ),
        (["convert", "a", "b", "--fromat", "csv"], "fastml convert", "--fromat csv; did you mean --format?"),
    ],
)
def test_typos_show_the_usage_of_their_command_and_the_nearest_option(capsys, argv, usage, match):
    with pytest.raises(SystemExit) as exit:
        main(argv)
    assert exit.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith(f"usage: {usage}")
    assert re.search(match.replace("?", r"\?"), err)
    assert ("did you mean" in err) == ("did you mean" in match)


def test_warnings_are_lines(capsys, tmp_path):
    for which in ("train", "t10k"):
        write_idx(tmp_path / f"{which}-images-idx3-ubyte", np.eye(2, 16, dtype=np.uint8).reshape(2, 4, 4))
        write_idx(tmp_path / f"{which}-labels-idx1-ubyte", np.array([0, 100], np.uint8))
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(warnings, "filters", [])
        assert main(["train", "--data", str(tmp_path), "--model", "softmax", "--epochs", "1"]) == 0
    _, err = capsys.readouterr()
    assert err.startswith("fastml: warning: y_tr makes 101 classes")
    assert all(line.startswith("fastml: ") for line in err.splitlines())


@pytest.mark.parametrize("option", ["--save", "--plot"])
@pytest.mark.parametrize(("place", "match"), [("missing", "there is no directory"), ("taken", "it is a directory")])
def test_destination_is_checked_before_the_training(capsys, monkeypatch, tmp_path, data, option, place, match):
    monkeypatch.delattr("fastml.cli.train.train_nn")
    suffix = {"--save": ".npz", "--plot": ".png"}[option]
    (tmp_path / f"taken{suffix}").mkdir()
    path = tmp_path / {"missing": f"missing/file{suffix}", "taken": f"taken{suffix}"}[place]
    assert match in refuse(capsys, ["train", "--data", data, option, path])


def test_directory_without_permission(capsys, monkeypatch, tmp_path, data):
    # Asked instead of tried out: root may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    path = tmp_path / "weights.npz"
    assert "no permission" in refuse(capsys, ["train", "--data", data, "--save", path])


def test_missing_matplotlib_is_told_before_the_training(capsys, monkeypatch, tmp_path, data):
    monkeypatch.delattr("fastml.cli.train.train_nn")
    monkeypatch.delitem(sys.modules, "fastml.plotting", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    argv = ["train", "--data", data, "--plot", tmp_path / "curves.png"]
    assert "pip install 'fastml[plot]'" in refuse(capsys, argv)


def test_data_that_are_not_there(capsys, tmp_path):
    assert f"{tmp_path} holds none of" in refuse(capsys, ["train", "--data", tmp_path])


def test_data_that_are_not_idx(capsys, tmp_path):
    for which in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (tmp_path / f"{which}-{kind}-ubyte").write_text("<html>")
    assert "magic number" in refuse(capsys, ["train", "--data", tmp_path])


@pytest.mark.parametrize(
    ("shape", "match"),
    [((15, 3), "X must have 15 columns"), ((16, 2), "y[2] is 2; labels must lie in [0, 2)")],
)
def test_model_that_does_not_fit_the_data(capsys, tmp_path, data, shape, match):
    path = tmp_path / "weights.npz"
    save_weights(path, (np.zeros(shape),), {})
    assert match in refuse(capsys, ["evaluate", path, "--data", data])


def test_files_that_are_no_weights(capsys, tmp_path, data):
    path = tmp_path / "weights.npz"
    assert "No such file" in refuse(capsys, ["evaluate", path, "--data", data])
    assert "directory" in refuse(capsys, ["evaluate", tmp_path, "--data", data])
    path.write_bytes(b"not a zip file")
    assert f"{path} is no file of weights" in refuse(capsys, ["evaluate", path, "--data", data])


def test_loss_that_is_not_finite(capsys, tmp_path, data):
    path = tmp_path / "weights.npz"
    line = refuse(capsys, ["train", "--data", data, "--hidden", "4", "--lr", "1e38", "--save", path], status=1)
    assert "smaller lr" in line
    assert not path.exists()
    save_weights(path, (np.full((16, 3), np.nan),), {})
    assert "is nan: theta[0, 0] is nan, which is not finite in float64" in refuse(
        capsys, ["evaluate", path, "--data", data], status=1
    )


def test_hidden_layer_beyond_memory(capsys, data):
    assert "Unable to allocate" in refuse(capsys, ["train", "--data", data, "--hidden", 10**14])


def test_interrupt_is_one_line_and_130(capsys, monkeypatch, data):
    def interrupt(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastml.cli.train.train_nn", interrupt)
    assert main(["train", "--data", data]) == 130
    assert capsys.readouterr() == ("", "fastml: interrupted\n")


@pytest.mark.usefixtures("one_batch_a_slice")
@pytest.mark.parametrize(("signum", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
@pytest.mark.parametrize("plot", [False, True])
@pytest.mark.parametrize(("calls", "epochs"), [(5, 0), (45, 1)])  # an epoch has 30 batches, and then evaluates
def test_a_signal_saves_what_there_is(capsys, monkeypatch, tmp_path, data, signum, word, plot, calls, epochs):
    def signal_after(calls, signum):
        left = calls

        def progress(done, total, loss):
            nonlocal left
            left -= 1
            if left == 0 and signum == signal.SIGINT:
                raise KeyboardInterrupt
            if left == 0:
                signal.raise_signal(signum)

        return progress

    train_set, test_set = load_mnist(data, raw=True)
    settings = {"hidden_dim": 8, "epochs": 5, "batch": 10, "lr": 0.2, "scale": train_set.scale, "verbose": False}
    with pytest.raises(KeyboardInterrupt) as interrupted:
        train_nn(*train_set, *test_set, **settings, progress=signal_after(calls, signal.SIGINT))
    expected = interrupted.value.history
    assert len(expected) == epochs

    bar = nullcontext(signal_after(calls, signum))
    monkeypatch.setattr("fastml.cli.train.progress_unless_quiet", lambda _, unit: bar if unit != "B" else nullcontext())
    saved, picture = tmp_path / "weights.npz", tmp_path / "curves.png"
    argv = ["train", "--data", data, "--hidden", "8", "--epochs", "5", "--batch", "10", "--save", str(saved)]
    usual = signal.getsignal(signal.SIGTERM)
    capsys.readouterr()
    assert main([*argv, *["--plot", str(picture)] * plot]) == 128 + signum
    assert signal.getsignal(signal.SIGTERM) is usual
    message = capsys.readouterr().err
    assert message.startswith(f"fastml: {word}; {saved} holds the weights after the last whole batch")
    assert "--checkpoint" in message
    weights, found = load_weights(saved)
    assert weights == expected.weights
    assert found["epochs"] == epochs
    assert found["history"]["train_loss"] == [row.train_loss for row in expected]
    assert picture.exists() == (str(picture) in message) == (plot and epochs > 0)


def test_sigterm_before_the_first_batch_writes_nothing(capsys, monkeypatch, tmp_path, data):
    monkeypatch.setattr("fastml.cli.train.load_mnist", lambda *_, **more: signal.raise_signal(signal.SIGTERM))
    assert main(["train", "--data", data, "--save", str(tmp_path / "weights.npz")]) == 143
    assert capsys.readouterr() == ("", "fastml: terminated\n")
    assert not (tmp_path / "weights.npz").exists()


def test_sigterm_has_its_usual_effect_where_nothing_is_saved(monkeypatch, data):
    seen = []

    def load(*given, **more):
        seen.append(signal.getsignal(signal.SIGTERM))
        return load_mnist(*given, **more)

    monkeypatch.setattr("fastml.cli.train.load_mnist", load)
    assert main(["train", "--data", data, "--hidden", "8", "--epochs", "1"]) == 0
    assert seen == [signal.getsignal(signal.SIGTERM)]


def test_a_second_sigterm_and_an_ignored_one_have_their_usual_effect():
    caught = []
    before = signal.signal(signal.SIGTERM, lambda signum, frame: caught.append(signum))
    try:
        with raising_at_sigterm():
            with pytest.raises(Terminated):
                signal.raise_signal(signal.SIGTERM)
            assert caught == []
            signal.raise_signal(signal.SIGTERM)
        assert caught == [signal.SIGTERM]
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with raising_at_sigterm():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_save_does_not_overwrite_without_force(capsys, monkeypatch, tmp_path, data):
    saved = tmp_path / "weights.npz"
    argv = ["train", "--data", data, "--hidden", "4", "--epochs", "1", "--save", str(saved)]
    assert main(argv) == 0
    first = saved.read_bytes()
    with monkeypatch.context() as patches:
        patches.delattr("fastml.cli.train.train_nn")
        assert f"{saved} exists already: choose another name, or overwrite it with --force" in refuse(capsys, argv)
    assert saved.read_bytes() == first
    assert main([*argv, "--seed", "1", "--force"]) == 0
    assert saved.read_bytes() != first


def test_one_command_starts_and_resumes_and_says_that_a_run_is_finished(capsys, tmp_path, data):
    saved, run = tmp_path / "weights.npz", tmp_path / "run"
    argv = ["train", "--data", data, "--hidden", "4", "--epochs", "2", "--save", str(saved), "--checkpoint", str(run)]
    argv += ["--resume"]
    assert main(argv) == 0
    out, err = capsys.readouterr()
    assert f"{run} holds no run yet: a new run starts" in err
    assert len(out.splitlines()) == 4
    assert main(argv) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert f"the run in {run} is finished: it has 2 epochs" in out
    assert main([*argv, "--epochs", "3"]) == 0
    out, err = capsys.readouterr()
    assert "is finished" not in out
    assert load_weights(saved)[1]["epochs"] == 3


@pytest.mark.parametrize("command", ["train", "evaluate", "convert", "generate"])
def test_quiet_commands_print_only_their_result(capsys, monkeypatch, tmp_path, data, weights_file, command):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr("fastml.progress.BAR_DELAY_SECONDS", 0)
    monkeypatch.setattr("fastml.datasets.generate.BLOCK", 8, raising=False)
    (tmp_path / "text").write_text("1 1:2\n")
    argv = {
        "train": ["--data", data, "--hidden", "4", "--epochs", "2"],
        "evaluate": [str(weights_file), "--data", data],
        "convert": [str(tmp_path / "text"), str(tmp_path)],
        "generate": [str(tmp_path / "large"), "--count", "1"],
    }[command]
    assert main([command, *argv, "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "Epoch" not in out
    assert out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_a_command_is_for_and_gives_an_example(capsys, command):
    name = command.__name__.rpartition(".")[2]
    with pytest.raises(SystemExit) as exit:
        main([name, "--help"])
    assert exit.value.code == 0
    text = capsys.readouterr().out
    assert re.search(rf"\n\n[A-Z][^\n]+[a-z]\.\n\n.*\n\nexample:\n  .*fastml {name} ", text, re.DOTALL)
    (example,) = re.findall(rf"fastml ({name} [^&\n)]*)", text.rpartition("example:")[2])
    assert make_parser().parse_args(shlex.split(example.rstrip('"'))).run is command.run


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_scripts_know_commands_and_options(capsys, shell):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "generate" in script
    assert "roofline" in script


def test_completion_without_shtab(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert "pip install 'fastml[completion]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "count"),
    [("7", 7), ("1e5", 100_000), ("8.1m", 8_100_000), ("8.1M", 8_100_000), ("60k", 60_000), ("1_000", 1000)],
)
def test_counts_in_short_forms(text, count):
    assert count_up_to(10**7)(text) == count


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("0", "must be a whole number from 1 to 1000, got 0"),
        ("1001", "from 1 to 1000"),
        ("-5", "from 1 to 1000"),
        ("1.5", "a whole number"),
        ("nan", "a whole number"),
        ("1e999999999", "from 1 to 1000"),
        ("m", "such as 100000, 1e5 or 8.1m, got m"),
        ("many", "such as 100000"),
    ],
)
def test_what_is_no_count(text, match):
    with pytest.raises(argparse.ArgumentTypeError, match=match):
        count_up_to(1000)(text)


def test_bar_shows_on_a_terminal_alone(capsys, monkeypatch):
    for terminal in (False, True):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal)
        monkeypatch.setattr("fastml.progress.BAR_DELAY_SECONDS", 0)
        with progress_bar() as progress:
            assert (progress is not None) == terminal
            if terminal:
                progress(50, 200)
                time.sleep(0.11)  # tqdm draws ten times a second at most
                progress(100, 200, 0.25)
                progress(200, 200)
                progress(100, 200)
        err = capsys.readouterr().err
        assert ("/200 " in err) == ("loss 0.2500" in err) == terminal


def test_no_bar_without_tqdm(monkeypatch):
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)
    with progress_bar() as progress:
        assert progress is None


def run_module(*argv, **streams):
    return subprocess.run([sys.executable, "-m", "fastml", *argv], stderr=subprocess.PIPE, text=True, **streams)


def test_runs_as_a_module():
    completed = run_module("--version", stdout=subprocess.PIPE)
    assert (completed.returncode, completed.stderr) == (0, "")
    assert re.fullmatch(r"fastml \d+\.\d+\.\d+\n", completed.stdout)


def test_reader_that_goes_away_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    completed = run_module("info", stdout=writer)
    os.close(writer)
    assert (completed.returncode, completed.stderr) == (0, "")
