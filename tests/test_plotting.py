"""Pictures: what is on them, by their pixels and their axes; and files of them."""

import os
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from fastml import History
from fastml.history import EpochResult
from fastml.plotting import (
    plot_calibration,
    plot_confusion,
    plot_deformations,
    plot_history,
    plot_mistakes,
    plot_weights,
    save_picture,
)
from fastml.plotting.figures import TEST_COLOUR, TRAIN_COLOUR, VALID_COLOUR, tiled


def make_history(epochs, loss=1.0, valid=None):
    rows = [
        EpochResult(epoch, loss / (epoch + 1), 0.2, loss / (epoch + 2), 0.3, valid, valid, 0.1)
        for epoch in range(epochs)
    ]
    return History((np.zeros((2, 2)),), rows)


def pixels(axes, tmp_path):
    save_picture(axes, tmp_path / "picture.png")
    return imread(tmp_path / "picture.png")[..., :3]


def has_colour(picture, colour):
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return (np.abs(255 * picture - wanted).max(axis=-1) < 1).any()


@pytest.mark.parametrize("loss", [1.0, 0.0])
@pytest.mark.parametrize("epochs", [1, 2, 200])
def test_learning_curves_show_the_sets_that_there_are(tmp_path, epochs, loss):
    picture = pixels(plot_history(make_history(epochs, loss)), tmp_path)
    assert picture.shape == (540, 1350, 3)
    assert [has_colour(picture, colour) for colour in (TRAIN_COLOUR, VALID_COLOUR, TEST_COLOUR)] == [True, False, True]
    picture = pixels(plot_history(make_history(epochs, loss, valid=0.5)), tmp_path)
    assert has_colour(picture, VALID_COLOUR)


def test_learning_curves_have_the_values_and_the_title():
    panels = plot_history(make_history(3), title="network")
    lines = {line.get_label(): line.get_ydata() for line in panels[0].get_lines()}
    np.testing.assert_allclose(lines["training set"], [1, 1 / 2, 1 / 3])
    np.testing.assert_allclose(panels[1].get_lines()[0].get_ydata(), 20)
    assert panels[0].figure.get_suptitle() == "network"


def test_pictures_are_drawn_on_the_axes_that_are_given():
    axes = Figure().subplots(1, 2)
    assert plot_history(make_history(2), axes).tolist() == list(axes)
    for draw in (
        lambda axes: plot_confusion(np.eye(2, dtype=int), axes),
        lambda axes: plot_weights(np.eye(4), (2, 2), axes),
        lambda axes: plot_mistakes(np.eye(2), [0, 0], np.eye(2), (1, 2), axes),
        lambda axes: plot_calibration([0], [[0.9, 0.1]], axes),
        lambda axes: plot_deformations(np.ones((1, 2, 3, 3), np.uint8), axes),
    ):
        axes = Figure().subplots()
        assert draw(axes) is axes


def test_history_without_a_row_is_refused():
    with pytest.raises(ValueError, match="no row"):
        plot_history(make_history(0))


@pytest.mark.parametrize("num_classes", [1, 2, 10, 40])
def test_confusion_grows_with_the_classes_up_to_a_bound(tmp_path, num_classes):
    matrix = np.random.default_rng(0).poisson(1, (num_classes, num_classes))
    height, width, _ = pixels(plot_confusion(matrix), tmp_path).shape
    assert height == width == min(max(750, round(82.5 * num_classes)), 3000)


def test_confusion_without_a_mistake(tmp_path):
    axes = plot_confusion(np.diag([3, 0, 4]))
    assert axes.get_title() == "0 of 7 examples mistaken"
    assert pixels(axes, tmp_path).size


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 2, 2)])
def test_matrix_that_is_not_square_is_refused(shape):
    with pytest.raises(ValueError, match="square"):
        plot_confusion(np.ones(shape, int))


@pytest.mark.parametrize("shape", [(1, 2, 3, 3), (10, 16, 28, 28), (2, 3, 10, 20)])
def test_contact_sheet_shows_each_image_in_its_place(tmp_path, shape):
    lines, across, rows, columns = shape
    for line, place in ((0, 0), (lines - 1, across - 1)):
        images = np.zeros(shape, np.uint8)
        images[line, place] = 255
        dark = pixels(plot_deformations(images), tmp_path).max(axis=-1) < 0.1
        assert dark.shape == pytest.approx((75 * lines * rows / columns, 75 * across), abs=1)
        # Pixels on the line between originals and deformations are coloured.
        assert dark.mean() == pytest.approx(1 / (lines * across), rel=0.05)
        for axis, number, count in ((1, line, lines), (0, place, across)):
            (lit,) = dark.any(axis=axis).nonzero()
            size = dark.shape[1 - axis]
            assert number * size / count - 2 <= lit.min() <= lit.max() <= (number + 1) * size / count + 2


@pytest.mark.parametrize("shape", [(2, 28, 28), (0, 2, 28, 28), (2, 1, 28, 28)])
def test_images_that_are_no_sheet_are_refused(shape):
    with pytest.raises(ValueError, match="2 or more of a line"):
        plot_deformations(np.ones(shape, np.uint8))


@pytest.mark.parametrize(("count", "shape"), [(1, (2, 3)), (5, (4, 2)), (12, (3, 3))])
def test_mosaic_has_each_image_in_its_place(count, shape):
    images = np.random.default_rng(0).random((count, *shape))
    mosaic, (lines, across) = tiled(images)
    assert (lines - 1) * across < count <= lines * across
    for place, image in enumerate(images):
        top, left = np.multiply(divmod(place, across), np.add(shape, 1))
        np.testing.assert_array_equal(mosaic[top : top + shape[0], left : left + shape[1]], image)


def test_weights_of_the_largest_norms_are_drawn():
    W = np.diag([1.0, -3.0, 2.0, 0.5])
    axes = plot_weights(W, (2, 2), most=2)
    assert axes.get_title() == "weights of 2 of 4 outputs, from -3 to 3"
    (image,) = axes.get_images()
    assert image.get_clim() == (-3, 3)
    mosaic = image.get_array()
    np.testing.assert_array_equal(mosaic[:2, :2], W[:, 1].reshape(2, 2))
    np.testing.assert_array_equal(mosaic[:2, 3:5], W[:, 2].reshape(2, 2))


@pytest.mark.parametrize("W", [np.ones(4), np.ones((5, 2)), np.ones((4, 0))])
def test_weights_that_are_no_images_are_refused(W):
    with pytest.raises(ValueError, match="W must be 2-D with 2 x 2 rows"):
        plot_weights(W, (2, 2))


def test_the_most_wrong_examples_come_first():
    X = np.arange(20).reshape(5, 4)
    probabilities = np.array([[0.4, 0.6], [0.9, 0.1], [0.2, 0.8], [0.01, 0.99], [0.3, 0.7]])
    axes = plot_mistakes(X, [0, 0, 0, 0, 1], probabilities, (2, 2), most=2)
    assert axes.get_title() == "2 of 3 mistakes, the most wrong first"
    assert [text.get_text() for text in axes.texts] == ["0: 1 %\n1: 99 %", "0: 20 %\n1: 80 %"]
    np.testing.assert_array_equal(axes.get_images()[0].get_array()[:2, :2], X[3].reshape(2, 2))


def test_no_mistakes_are_a_picture_too(tmp_path):
    axes = plot_mistakes(np.eye(2), [0, 1], np.eye(2), (1, 2))
    assert axes.get_title() == "0 of 0 mistakes, the most wrong first"
    assert pixels(axes, tmp_path).size


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="X must be 2 images of 2 x 2"):
        plot_mistakes(np.eye(2), [0, 1], np.eye(2), (2, 2))


def test_calibration_has_the_shares_and_the_error():
    confidence = np.repeat([0.55, 0.85, 1.0], [4, 4, 2])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    y = [0, 0, 1, 1, 0, 0, 0, 1, 0, 0]
    axes = plot_calibration(y, probabilities)
    found = axes.collections[0].get_offsets()
    np.testing.assert_allclose(found, [[55, 50], [85, 75], [100, 100]])
    assert axes.get_title() == "expected calibration error 6.0 %"


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf", "PNG"])
def test_the_suffix_says_the_format(tmp_path, suffix):
    path = tmp_path / f"curves.{suffix}"
    save_picture(plot_history(make_history(2)), path)
    begin = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix.lower()]
    assert path.read_bytes().startswith(begin)
    with pytest.raises(ValueError, match=r"the suffix of path must be one of '\.png', '\.svg', '\.pdf', got '\.jpg'"):
        save_picture(plot_history(make_history(2)), tmp_path / "curves.jpg")


def test_failed_write_leaves_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "curves.png"
    save_picture(plot_history(make_history(2)), path)
    before = path.read_bytes()

    def fail(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        save_picture(plot_history(make_history(3)), path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


def test_pyplot_is_used_where_it_is_in_use_alone():
    code = """
import sys, fastml.plotting as plotting
plotting.plot_confusion([[1, 0], [0, 1]])
assert "matplotlib.pyplot" not in sys.modules
import matplotlib; matplotlib.use("agg")
import matplotlib.pyplot as plt
assert plt.figure(plotting.plot_confusion([[1, 0], [0, 1]]).figure.number) and len(plt.get_fignums()) == 1
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
