import hashlib
import lzma
from importlib.resources import files

import numpy as np
import pytest

from fastml.datasets import IdxError, load_mnist, parse_mnist, read_idx, write_idx
from fastml.mapping import mapping_of

DATA = files("fastml.datasets") / "data"
NAMES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


def test_shipped_files_are_the_published_ones():
    digests = dict(reversed(line.split()) for line in (DATA / "SHA256SUMS").read_text().splitlines())
    assert digests.keys() == {f"{name}.gz" for name in NAMES}
    for name, digest in digests.items():
        assert hashlib.sha256((DATA / name).read_bytes()).hexdigest() == digest


def test_licence_ships_with_the_files():
    licence = " ".join((DATA / "LICENSE").read_text().split())
    assert "Yann LeCun and Corinna Cortes hold the copyright of MNIST" in licence
    assert "Creative Commons Attribution-ShareAlike 3.0" in licence


def test_shapes_and_dtypes(mnist):
    for (X, y), num_examples in zip(mnist, (60_000, 10_000), strict=True):
        assert (X.shape, X.dtype) == ((num_examples, 784), np.float32)
        assert (y.shape, y.dtype) == ((num_examples,), np.uint8)
        assert X.flags.c_contiguous
        assert X.flags.writeable
        assert (X.min(), X.max()) == (0, 1)
        assert np.unique(y).tolist() == list(range(10))


def test_known_facts(mnist):
    (X, y), _ = mnist
    np.testing.assert_allclose(np.linalg.norm(X[:10]), 27.892084, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(X[:1000]), 293.0717, rtol=1e-6)
    assert y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert round(100 * np.count_nonzero(X) / X.size, 2) == 19.12


def test_raw_pixels_are_the_same_images(mnist):
    for (X, y), (pixels, labels) in zip(mnist, load_mnist(raw=True), strict=True):
        assert pixels.dtype == np.uint8
        assert pixels.flags.writeable
        np.testing.assert_array_equal(pixels[::7].astype(np.float32) / 255, X[::7])
        np.testing.assert_array_equal(labels, y)


@pytest.fixture
def write_pair(tmp_path):
    def write(images, labels):
        paths = tmp_path / "images", tmp_path / "labels"
        for path, array in zip(paths, (images, labels), strict=True):
            write_idx(path, array)
        return paths

    return write


def test_parse_agrees_with_the_loader(mnist):
    _, (X, y) = mnist
    X_parsed, y_parsed = parse_mnist(*(str(DATA / f"{name}.gz") for name in NAMES[2:]))
    np.testing.assert_array_equal(X_parsed, X)
    np.testing.assert_array_equal(y_parsed, y)


def test_every_pixel_value_is_divided_with_correct_rounding(write_pair):
    X, _ = parse_mnist(*write_pair(np.arange(256, dtype=np.uint8)[:, None], np.zeros(256, np.uint8)))
    # A float64 quotient rounds to the correctly rounded float32 one: 53 bits are more than 2 * 24 + 1.
    np.testing.assert_array_equal(X[:, 0], (np.arange(256) / 255).astype(np.float32), strict=True)


@pytest.mark.parametrize("shape", [(3, 4), (3, 2, 2), (3, 2, 2, 5), (0, 28, 28), (3, 0)])
def test_images_of_any_shape_become_rows(write_pair, shape):
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    X, y = parse_mnist(*write_pair(images, np.zeros(shape[0], np.uint8)))
    assert X.shape == (shape[0], np.prod(shape[1:]))
    assert y.shape == shape[:1]
    np.testing.assert_array_equal(X.ravel(), images.ravel() / np.float32(255))


@pytest.mark.parametrize(
    ("images", "labels", "match"),
    [
        (np.zeros((2, 3, 3), np.int8), np.zeros(2, np.uint8), r"images: found int8 of shape \(2, 3, 3\)"),
        (np.zeros((2, 3, 3), np.float32), np.zeros(2, np.uint8), "images: found float32"),
        (np.zeros(2, np.uint8), np.zeros(2, np.uint8), r"images: found uint8 of shape \(2,\).* 2 or more"),
        (np.uint8(0), np.zeros(2, np.uint8), r"images: found uint8 of shape \(\)"),
        (np.zeros((2, 3), np.uint8), np.zeros(2, np.int32), "labels: found int32"),
        (np.zeros((2, 3), np.uint8), np.zeros((2, 1), np.uint8), r"labels: found uint8 of shape \(2, 1\)"),
        (np.zeros((2, 3), np.uint8), np.zeros(3, np.uint8), "2 images in .*images, but 3 labels in .*labels"),
    ],
)
def test_parse_refuses_what_is_not_images_with_labels(write_pair, images, labels, match):
    with pytest.raises(IdxError, match=match):
        parse_mnist(*write_pair(images, labels))


def test_error_of_either_set_reaches_the_caller(tmp_path):
    for name in NAMES:
        (tmp_path / name).write_bytes(b"<html>")
    with pytest.raises(IdxError, match="train-images-idx3-ubyte: found magic number"):
        load_mnist(tmp_path)


@pytest.mark.parametrize("suffixes", [("",) * 4, (".gz",) * 4, (".xz",) * 4, ("", ".gz", ".xz", "")])
def test_directory_of_ones_own(tmp_path, suffixes):
    arrays = [np.full((5, 2, 2), 51, np.uint8), np.arange(5, dtype=np.uint8)] * 2
    for name, suffix, array in zip(NAMES, suffixes, arrays, strict=True):
        write_idx(tmp_path / f"{name}{suffix}", array)
    for X, y in load_mnist(str(tmp_path)):
        np.testing.assert_array_equal(X, np.full((5, 4), 0.2, np.float32))
        assert y.tolist() == [0, 1, 2, 3, 4]


def test_plain_file_comes_before_compressed_ones(tmp_path):
    for name in NAMES:
        write_idx(tmp_path / name, np.zeros((1, 1) if "images" in name else 1, np.uint8))
        (tmp_path / f"{name}.gz").write_bytes(b"not gzip")
    assert load_mnist(tmp_path, raw=True)[0][0].shape == (1, 1)


@pytest.mark.parametrize(("suffix", "most", "mapped"), [("", 8, True), (".gz", 8, False), (".gz", 7, True)])
def test_plain_and_large_images_are_mapped(tmp_path, monkeypatch, suffix, most, mapped):
    monkeypatch.setattr("fastml.datasets.mnist.MOST_BYTES", most)
    for name in NAMES:
        array = np.arange(8, dtype=np.uint8)
        write_idx(tmp_path / f"{name}{suffix}", array.reshape(2, 2, 2) if "images" in name else array[:2])
    (X, _), _ = load_mnist(tmp_path, raw=True)
    assert (mapping_of(X) is not None) == mapped
    assert X.flags.writeable != mapped
    np.testing.assert_array_equal(X, np.arange(8).reshape(2, 4))


@pytest.mark.parametrize("missing", NAMES[:3])
def test_missing_file_is_named_with_its_directory(tmp_path, missing):
    for name in NAMES:
        if name != missing:
            (tmp_path / name).touch()
    with pytest.raises(FileNotFoundError) as info:
        load_mnist(tmp_path)
    assert all(text in str(info.value) for text in (str(tmp_path), missing, f"{missing}.gz", f"{missing}.xz"))


def test_published_files_recompressed_read_the_same(tmp_path):
    path = tmp_path / "labels"
    labels = read_idx(DATA / f"{NAMES[3]}.gz")
    write_idx(tmp_path / "labels.xz", labels)
    path.write_bytes(lzma.decompress((tmp_path / "labels.xz").read_bytes()))
    np.testing.assert_array_equal(read_idx(path), labels)
