"""Sets are found under the names and in the forms in which people have them."""

import io
import re
import shutil
import zipfile

import numpy as np
import pytest

from fastml import evaluate, load_mnist, predict
from fastml.cli import main
from fastml.datasets import IdxError, write_idx
from fastml.datasets.convert import ConvertError
from fastml.datasets.places import RECORD
from fastml.weights import Weights, load_weights, save_weights

RANDOM = np.random.default_rng(0)
IMAGES = [RANDOM.integers(0, 256, (count, 4, 3), np.uint8) for count in (30, 12)]
LABELS = [np.arange(count, dtype=np.uint8) % 3 for count in (30, 12)]
MNIST = "{which}-{kind}-ubyte", ("train", "t10k"), ("images-idx3", "labels-idx1")
DOTTED = "{which}-{kind}-ubyte", ("train", "t10k"), ("images.idx3", "labels.idx1")


def emnist(name):
    return f"emnist-{name}-{{which}}-{{kind}}-ubyte", ("train", "test"), ("images-idx3", "labels-idx1")


def write(directory, naming=MNIST, suffix="", images=IMAGES, labels=LABELS, parts=(0, 1)):
    directory.mkdir(parents=True, exist_ok=True)
    form, names, kinds = naming
    for part in parts:
        for kind, array in zip(kinds, (images[part], labels[part]), strict=True):
            write_idx(directory / f"{form.format(which=names[part], kind=kind)}{suffix}", array)


def assert_is_the_set(where, parts=2, labels=LABELS):
    for raw in (True, False):
        sets = load_mnist(where, raw=raw)
        for part, (X, y) in enumerate(sets):
            count = len(IMAGES[part]) if part < parts else 0
            expected = IMAGES[part][:count].reshape(count, 12)
            np.testing.assert_array_equal(X, expected if raw else expected / np.float32(255), strict=True)
            np.testing.assert_array_equal(y, labels[part][:count])
    return sets


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
@pytest.mark.parametrize("naming", [MNIST, DOTTED])
@pytest.mark.parametrize("below", [".", "raw", "MNIST/raw"])
def test_names_and_directories_of_other_programs(tmp_path, naming, suffix, below):
    write(tmp_path / below, naming, suffix)
    (tmp_path / "train-images-idx3-ubyte").mkdir(exist_ok=True) if below != "." else None
    assert assert_is_the_set(tmp_path)[0].classes is None


def test_directories_named_like_files_are_no_files(tmp_path):
    write(tmp_path, DOTTED)
    for name in ("train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (tmp_path / name).mkdir()
    assert_is_the_set(tmp_path)


@pytest.mark.parametrize("below", [".", "EMNIST/raw"])
def test_nist_s_own_files_are_upright(tmp_path, below):
    write(tmp_path / below, emnist("digits"), ".gz", [images.transpose(0, 2, 1) for images in IMAGES])
    assert_is_the_set(tmp_path)
    assert_is_the_set(tmp_path / below / "emnist-digits")


def test_letters_count_from_0_and_have_names(tmp_path):
    lying = [images.transpose(0, 2, 1) for images in IMAGES]
    write(tmp_path, emnist("letters"), "", lying, [y + 1 for y in LABELS])
    train, test = assert_is_the_set(tmp_path)
    assert train.classes == test.classes == tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    write(tmp_path, emnist("letters"), "", lying, LABELS)
    with pytest.raises(IdxError, match="found other labels than 1 to 26"):
        load_mnist(tmp_path)


def test_images_of_emnist_that_are_none(tmp_path):
    write(tmp_path, emnist("digits"), "", [images.reshape(len(images), 12) for images in IMAGES])
    with pytest.raises(IdxError, match="images of EMNIST have 3 dimensions"):
        load_mnist(tmp_path)


def test_one_of_several_sets_is_named_by_its_path(tmp_path):
    for name in ("digits", "letters"):
        write(tmp_path, emnist(name), "", [images.transpose(0, 2, 1) for images in IMAGES], [y + 1 for y in LABELS])
    match = f"{tmp_path} holds several sets, name one: {tmp_path}/emnist-digits, {tmp_path}/emnist-letters"
    with pytest.raises(ValueError, match=re.escape(match)):
        load_mnist(tmp_path)
    assert_is_the_set(tmp_path / "emnist-letters")
    assert_is_the_set(tmp_path / "emnist-digits", labels=[y + 1 for y in LABELS])


def test_several_directories_of_torchvision(tmp_path):
    for name in ("MNIST", "KMNIST"):
        write(tmp_path / name / "raw")
    with pytest.raises(ValueError, match=re.escape(f"name one: {tmp_path}/KMNIST/raw, {tmp_path}/MNIST/raw")):
        load_mnist(tmp_path)
    assert_is_the_set(tmp_path / "MNIST")


def test_a_training_set_alone(tmp_path):
    write(tmp_path, parts=(0,))
    assert_is_the_set(tmp_path, parts=1)
    write_idx(tmp_path / "t10k-images-idx3-ubyte", IMAGES[1])  # a test set without labels, as Kaggle has it
    assert_is_the_set(tmp_path, parts=1)


def test_what_is_there_is_said(tmp_path):
    for name in "abcdefgh":
        (tmp_path / name).touch()
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte.xz, but a, b, c, d, e, f, \.\.\."):
        load_mnist(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no such directory"):
        load_mnist(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"but nothing$"):
        load_mnist(tmp_path / "empty")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("labels", [lambda y: y, lambda y: y.astype(np.int64), lambda y: y[:, None]])
def test_keras_archive(tmp_path, save, labels):
    arrays = {"x_train": IMAGES[0], "y_train": labels(LABELS[0]), "x_test": IMAGES[1], "y_test": labels(LABELS[1])}
    save(tmp_path / "mnist.npz", **arrays)
    assert_is_the_set(tmp_path / "mnist.npz")
    save(tmp_path / "train.NPZ", X_train=IMAGES[0], Y_train=labels(LABELS[0]))
    shutil.move(tmp_path / "train.NPZ.npz", tmp_path / "train.NPZ")
    assert_is_the_set(tmp_path / "train.NPZ", parts=1)


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"a": IMAGES[0]}, "holds a, need x_train and y_train"),
        ({"x_train": IMAGES[0] / 255, "y_train": LABELS[0]}, "found images of float64"),
        ({"x_train": IMAGES[0], "y_train": LABELS[1]}, r"found labels of uint8 and shape \(12,\), need .* \(30,\)"),
        ({"x_train": IMAGES[0], "y_train": LABELS[0] / 2}, "found labels of float64"),
        ({"x_train": IMAGES[0], "y_train": np.array([None] * 30)}, "is no archive of arrays: it holds pickled objects"),
    ],
)
def test_archives_of_something_else(tmp_path, arrays, match):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(IdxError, match=match):
        load_mnist(tmp_path / "data.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not an archive", b"PK\x05\x06" + bytes(18)])
def test_damaged_archives(tmp_path, content):
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(IdxError, match=r"is no archive of arrays|holds nothing"):
        load_mnist(tmp_path / "data.npz")


def test_tables(tmp_path):
    table = np.column_stack([LABELS[0], IMAGES[0].reshape(30, -1)])
    lines = "".join(",".join(map(str, row)) + "\n" for row in table)
    (tmp_path / "train.csv").write_text("label," + ",".join(f"p{i}" for i in range(12)) + "\n" + lines)
    assert_is_the_set(tmp_path / "train.csv", parts=1)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("train.csv", lines)
    (tmp_path / "train.csv.zip").write_bytes(buffer.getvalue())
    assert_is_the_set(tmp_path / "train.csv.zip", parts=1)
    for text, match in (
        ("", "found no examples"),
        ("7\n", "line 1: found 1 columns"),
        ("7,1\n8\n", "line 2: found 1 col"),
    ):
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(ConvertError, match=match):
            load_mnist(tmp_path / "bad.csv")
    (tmp_path / "train.txt").touch()
    with pytest.raises(
        IdxError, match=r"is a file: pass the directory of a set, or a file that ends in \.npz or \.csv"
    ):
        load_mnist(tmp_path / "train.txt")


def test_predict_needs_no_labels(capsys, tmp_path):
    weights = Weights([RANDOM.standard_normal((12, 3))], scale=1 / 255)
    save_weights(tmp_path / "weights.npz", weights, {})
    expected = "".join(f"{label}\n" for label in ("label", *predict(IMAGES[1].reshape(12, 12), weights)))
    write(tmp_path / "train", parts=(0,))
    write_idx(tmp_path / "train" / "t10k-images-idx3-ubyte", IMAGES[1])
    rows = IMAGES[1].reshape(12, 12).tolist()
    names = ",".join(f"p{i}" for i in range(12))
    for name, lines in {
        "kaggle.csv": [names, *(",".join(map(str, row)) for row in rows)],
        "plain.csv": [",".join(map(str, row)) for row in rows],
        "labelled.csv": [",".join(map(str, [7, *row])) for row in rows],
        "named.csv": [f"{names},label", *(",".join(map(str, [*row, 7])) for row in rows)],
    }.items():
        (tmp_path / name).write_text("\n".join(lines))
    np.savez(tmp_path / "keras.npz", x_train=IMAGES[0], y_train=LABELS[0], x_test=IMAGES[1], y_test=LABELS[1])
    write(tmp_path / "alone", images=IMAGES[::-1], labels=LABELS[::-1], parts=(0,))
    lying = [images.transpose(0, 2, 1) for images in IMAGES]
    write(tmp_path / "nist", emnist("digits"), images=lying)
    for where in ("train", "kaggle.csv", "plain.csv", "labelled.csv", "named.csv", "keras.npz", "alone", "nist"):
        assert main(["predict", str(tmp_path / "weights.npz"), "--data", str(tmp_path / where)]) == 0
        assert capsys.readouterr().out == expected, where


def test_the_command_takes_a_training_set_alone(capsys, tmp_path):
    write(tmp_path / "data", parts=(0,))
    saved = str(tmp_path / "weights.npz")
    argv = ["train", "--data", str(tmp_path / "data"), "--model", "softmax", "--epochs", "2", "--save", saved]
    assert main([*argv, "--log", str(tmp_path / "log.jsonl")]) == 0
    out, err = capsys.readouterr()
    assert f"{tmp_path / 'data'} holds no test set" in err
    head, *_, last, summary = out.splitlines()
    assert "Test" not in head
    weights, _ = load_weights(saved)
    loss, error = evaluate(IMAGES[0].reshape(30, -1), LABELS[0], weights)
    assert f"{loss:.5f}" in last
    assert summary.startswith(f"training error {error:.2%}; ")
    assert main(["evaluate", saved, "--data", str(tmp_path / "data")]) == 0
    assert capsys.readouterr().out.startswith(f"training loss {loss:.5f}, training error {error:.2%} of 30 examples")


def test_the_matrix_names_letters(capsys, tmp_path):
    labels = [np.arange(len(y), dtype=np.uint8) % 26 for y in LABELS]
    write(tmp_path / "data", labels=labels)
    (tmp_path / "data" / RECORD).write_text("emnist-letters")
    saved = str(tmp_path / "weights.npz")
    argv = ["--data", str(tmp_path / "data")]
    assert main(["train", *argv, "--model", "softmax", "--epochs", "1", "--save", saved]) == 0
    capsys.readouterr()
    assert main(["evaluate", saved, *argv]) == 0
    _, _, head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == list("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert [row.split()[0] for row in rows] == head.split()
