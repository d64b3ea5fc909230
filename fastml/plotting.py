"""Draw learning curves, confusion matrices and deformed images as PNG files; requires Matplotlib."""

import os
from io import BytesIO

import numpy as np
from numpy.typing import ArrayLike

from fastml import checks
from fastml.files import replacing
from fastml.history import History

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator
except ImportError as error:
    raise ImportError("pictures need Matplotlib: pip install 'fastml[plot]'") from error

# Three of Okabe and Ito's colours, distinguishable with every kind of colour vision, and in grey.
TRAIN_COLOUR, VALID_COLOUR, TEST_COLOUR = "#0072B2", "#009E73", "#D55E00"
CURVES = (
    ("train", "training", TRAIN_COLOUR, "o--"),
    ("valid", "validation", VALID_COLOUR, "o:"),
    ("test", "test", TEST_COLOUR, "o-"),
)
PIXELS_PER_INCH = 150
# The largest side of a confusion matrix. Beyond 36 classes the cells shrink, to limit the memory for drawing.
LARGEST_INCHES = 20
INCHES_OF_IMAGE = 0.5


def plot_history(history: History, path: str | os.PathLike) -> None:
    """Draw the learning curves of a training run: loss and error after each epoch, on the sets that there are.

    Parameters
    ----------
    history : History
        With at least one row.
    path : str or os.PathLike
        The PNG file to write, completely or not at all.

    Raises
    ------
    ValueError
        If the history has no row.
    OSError
        If the file cannot be written.
    """
    if not history.rows:
        raise ValueError("the history has no row to draw")
    epochs = [row.epoch for row in history.rows]
    figure = Figure(figsize=(9, 3.6), dpi=PIXELS_PER_INCH, layout="constrained")
    panels = figure.subplots(1, 2)
    quantities = (("loss", "loss (nats)", 1), ("err", "error (%)", 100))
    for axes, (quantity, label, unit) in zip(panels, quantities, strict=True):
        for which, name, colour, style in CURVES:
            if getattr(history.rows[0], f"{which}_{quantity}") is None:
                continue
            values = [unit * getattr(row, f"{which}_{quantity}") for row in history.rows]
            axes.plot(epochs, values, style, color=colour, markersize=4, label=f"{name} set")
        axes.update_datalim([(epochs[0], 0)])
        axes.autoscale_view()
        axes.set_ylim(bottom=0)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False)
    write_png(figure, path)


def plot_confusion(matrix: ArrayLike, path: str | os.PathLike) -> None:
    """Draw a confusion matrix: how often each class was predicted as each other class.

    Colours show only the mistakes. The correct predictions are grey, because there are far more of them.

    Parameters
    ----------
    matrix : array_like of integers, shape (num_classes, num_classes)
        Row k counts the examples of class k by predicted class.
    path : str or os.PathLike
        The PNG file to write, completely or not at all.

    Raises
    ------
    ValueError
        If the matrix is not square.
    OSError
        If the file cannot be written.
    """
    matrix = checks.as_array("matrix", matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"the matrix must be square, (num_classes, num_classes), got shape {matrix.shape}")
    num_classes, right = len(matrix), np.eye(len(matrix), dtype=bool)
    mistakes = np.where(right, 0, matrix)
    most = max(1, mistakes.max())
    inches = min(max(5, 0.55 * num_classes), LARGEST_INCHES)
    figure = Figure(figsize=(inches, inches), dpi=PIXELS_PER_INCH, layout="constrained")
    axes = figure.subplots()
    axes.imshow(mistakes, cmap="Oranges", vmax=most)
    axes.imshow(np.where(right, 0.9, np.nan), cmap="gray", vmin=0, vmax=1)
    size = min(10, 28 * inches / num_classes)
    for true, predicted in np.argwhere(matrix):
        colour = "white" if mistakes[true, predicted] > 0.6 * most else "black"
        axes.text(predicted, true, matrix[true, predicted], color=colour, size=size, ha="center", va="center")
    axes.set_title(f"{mistakes.sum():,} of {matrix.sum():,} examples mistaken")
    axes.set(xlabel="predicted class", ylabel="true class", xticks=range(num_classes), yticks=range(num_classes))
    axes.tick_params(length=0, labelsize=size)
    axes.spines[:].set_visible(False)
    write_png(figure, path)


def plot_deformations(images: ArrayLike, path: str | os.PathLike) -> None:
    """Draw a contact sheet: each line shows an original image, then its deformations.

    Parameters
    ----------
    images : array_like of uint8, shape (lines, images of a line, rows, columns)
        At least two images in a line; the first is the original. 0 is drawn white, 255 black.
    path : str or os.PathLike
        The PNG file to write, completely or not at all.

    Raises
    ------
    ValueError
        If images have another shape.
    OSError
        If the file cannot be written.
    """
    images = checks.as_array("images", images)
    if images.ndim != 4 or images.size == 0 or images.shape[1] < 2:
        raise ValueError(f"images must be (lines, 2 or more of a line, rows, columns), got shape {images.shape}")
    lines, across, rows, columns = images.shape
    inches = INCHES_OF_IMAGE
    figure = Figure(figsize=(inches * across, inches * lines * rows / columns), dpi=PIXELS_PER_INCH)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(images.swapaxes(1, 2).reshape(lines * rows, across * columns), cmap="gray_r", vmin=0, vmax=255)
    axes.axvline(columns - 0.5, color=TEST_COLOUR, linewidth=1)
    axes.set_axis_off()
    write_png(figure, path)


def write_png(figure: Figure, path: str | os.PathLike) -> None:
    """Render a figure without pyplot's global state and write it as PNG, completely or not at all."""
    picture = BytesIO()
    FigureCanvasAgg(figure).print_png(picture)
    with replacing(path) as file:
        file.write(picture.getvalue())
