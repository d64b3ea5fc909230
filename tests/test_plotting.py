import io
import os
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from fastml import History
from fastml.history import EpochResult
from fastml.plotting import TEST_COLOUR, TRAIN_COLOUR, plot_confusion, plot_deformations, plot_history


def make_history(epochs, loss=1.0):
    rows = [
        EpochResult(epoch, loss / (epoch + 1), 0.2, loss / (epoch + 2), 0.3, None, None, 0.1) for epoch in range(epochs)
    ]
    return History((np.zeros((2, 2)),), rows)


def has_colour(path, colour):
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return (np.abs(255 * imread(path)[..., :3] - wanted).max(axis=-1) < 1).any()


@pytest.mark.parametrize("loss", [1.0, 0.0])
@pytest.mark.parametrize("epochs", [1, 2, 200])
def test_learning_curves_show_both_sets(tmp_path, epochs, loss):
    path = tmp_path / "curves.png"
    plot_history(make_history(epochs, loss), path)
    assert has_colour(path, TRAIN_COLOUR)
    assert has_colour(path, TEST_COLOUR)


def test_history_without_a_row_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no row"):
        plot_history(make_history(0), tmp_path / "curves.png")


@pytest.mark.parametrize("num_classes", [1, 2, 10, 40])
def test_confusion_grows_with_the_classes_up_to_a_bound(tmp_path, num_classes):
    path = tmp_path / "confusion.png"
    matrix = np.random.default_rng(0).poisson(1, (num_classes, num_classes))
    plot_confusion(matrix, path)
    height, width, _ = imread(path).shape
    assert height == width == min(max(750, round(82.5 * num_classes)), 3000)


def test_confusion_without_a_mistake(tmp_path):
    plot_confusion(np.diag([3, 0, 4]), tmp_path / "confusion.png")
    assert imread(tmp_path / "confusion.png").size


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 2, 2)])
def test_matrix_that_is_not_square_is_refused(tmp_path, shape):
    with pytest.raises(ValueError, match="square"):
        plot_confusion(np.ones(shape, int), tmp_path / "confusion.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(1, 2, 3, 3), (10, 16, 28, 28), (2, 3, 10, 20)])
def test_contact_sheet_shows_each_image_in_its_place(tmp_path, shape):
    lines, across, rows, columns = shape
    for line, place in ((0, 0), (lines - 1, across - 1)):
        images = np.zeros(shape, np.uint8)
        images[line, place] = 255
        plot_deformations(images, tmp_path / "sheet.png")
        dark = imread(tmp_path / "sheet.png")[..., :3].max(axis=-1) < 0.1
        assert dark.shape == pytest.approx((75 * lines * rows / columns, 75 * across), abs=1)
        # Pixels on the line between originals and deformations are coloured.
        assert dark.mean() == pytest.approx(1 / (lines * across), rel=0.05)
        for axis, number, count in ((1, line, lines), (0, place, across)):
            (lit,) = dark.any(axis=axis).nonzero()
            size = dark.shape[1 - axis]
            assert number * size / count - 2 <= lit.min() <= lit.max() <= (number + 1) * size / count + 2


@pytest.mark.parametrize("shape", [(2, 28, 28), (0, 2, 28, 28), (2, 1, 28, 28)])
def test_images_that_are_no_sheet_are_refused(tmp_path, shape):
    with pytest.raises(ValueError, match="2 or more of a line"):
        plot_deformations(np.ones(shape, np.uint8), tmp_path / "sheet.png")
    assert not list(tmp_path.iterdir())


def test_failed_write_leaves_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "curves.png"
    plot_history(make_history(2), path)
    before = path.read_bytes()
    assert imread(io.BytesIO(before)).shape == (540, 1350, 4)

    def fail(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        plot_history(make_history(3), path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


def test_leaves_pyplot_alone():
    code = "import fastml.plotting, sys; raise SystemExit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
