"""Pictures of what a model predicts: confusion matrix, mistakes, calibration."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from fastml import checks, scalars
from fastml.arrays import as_array, describe
from fastml.plotting.figures import TEST_COLOUR, new_axes, tiled

# The largest side of a confusion matrix. Beyond 36 classes the cells shrink, to limit the memory for drawing.
LARGEST_INCHES = 20


def plot_confusion(matrix: ArrayLike, axes: Axes | None = None) -> Axes:
    """Draw a confusion matrix: how often each class was predicted as each other class.

    Colours show only the mistakes. The correct predictions are grey, because there are far more of them.

    Parameters
    ----------
    matrix : array_like of integers, shape (num_classes, num_classes)
        Row k counts the examples of class k by predicted class.
    axes : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the matrix is not square.

    Examples
    --------
    >>> from fastml.plotting import plot_confusion
    >>> plot_confusion([[9, 1], [0, 10]]).get_title()
    '1 of 20 examples mistaken'
    """
    matrix = as_array("matrix", matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"the matrix must be square, (num_classes, num_classes), got shape {matrix.shape}")
    num_classes, right = len(matrix), np.eye(len(matrix), dtype=bool)
    mistakes = np.where(right, 0, matrix)
    most = max(1, mistakes.max())
    inches = min(max(5, 0.55 * num_classes), LARGEST_INCHES)
    axes = new_axes((inches, inches))[0] if axes is None else axes
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
    return axes


def plot_mistakes(
    X: ArrayLike,
    y: ArrayLike,
    probabilities: ArrayLike,
    shape: tuple[int, int],
    axes: Axes | None = None,
    most: int = 40,
) -> Axes:
    r"""Draw the mistaken examples whose true classes are the least probable, with both classes and probabilities.

    Parameters
    ----------
    X : array_like, shape (num_examples, input_dim)
        Images.
    y : array_like of integers, shape (num_examples,)
        Their classes.
    probabilities : array_like, shape (num_examples, num_classes)
        What `predict_proba` returns for X.
    shape : (int, int)
        Rows and columns of the images; their product is input_dim.
    axes : matplotlib.axes.Axes, optional
        Where to draw.
    most : int
        The most images, at least 1.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> import numpy as np
    >>> from fastml.plotting import plot_mistakes
    >>> axes = plot_mistakes(np.eye(2), [0, 0], [[0.9, 0.1], [0.2, 0.8]], shape=(1, 2))
    >>> axes.get_title(), axes.texts[0].get_text()
    ('1 of 1 mistakes, the most wrong first', '0: 20 %\n1: 80 %')
    """
    X, probabilities = checks.check_features(X), checks.check_logits(probabilities)
    y, most = checks.check_labels(y, *probabilities.shape), scalars.check_integer("most", most, minimum=1)
    if X.shape != (len(probabilities), np.prod(shape)):
        raise ValueError(f"X must be {len(probabilities)} images of {shape[0]} x {shape[1]}, got {describe(X)}")
    predicted, own = probabilities.argmax(axis=1), probabilities[np.arange(len(y)), y]
    (wrong,) = np.nonzero(predicted != y)
    chosen = wrong[np.argsort(own[wrong], kind="stable")[:most]]
    # Room for two lines of text below each image.
    images = np.pad(X[chosen].reshape(-1, *shape).astype(np.float64), ((0, 0), (0, max(1, shape[0] // 2)), (0, 0)))
    mosaic, (lines, across) = tiled(images) if len(chosen) else (np.zeros((1, 1)), (1, 8))
    axes = new_axes((across, lines * 1.5 * shape[0] / shape[1] + 0.4))[0] if axes is None else axes
    axes.imshow(mosaic, cmap="gray_r")
    for place, row in enumerate(chosen):
        line, column = divmod(place, across)
        text = "\n".join(f"{k}: {100 * probabilities[row, k]:.0f} %" for k in (y[row], predicted[row]))
        top = line * (images.shape[1] + 1) + shape[0]
        axes.text(column * (shape[1] + 1) + shape[1] / 2, top, text, size=7, ha="center", va="top")
    axes.set_title(f"{len(chosen)} of {len(wrong)} mistakes, the most wrong first")
    axes.set_axis_off()
    return axes


def plot_calibration(y: ArrayLike, probabilities: ArrayLike, axes: Axes | None = None, bins: int = 10) -> Axes:
    """Draw how often the predicted class is right, by its probability; on the diagonal, both are equal.

    Parameters
    ----------
    y : array_like of integers, shape (num_examples,)
        The classes.
    probabilities : array_like, shape (num_examples, num_classes)
        What `predict_proba` returns.
    axes : matplotlib.axes.Axes, optional
        Where to draw.
    bins : int
        Ranges of probability of equal width, at least 1. The area of a point grows with the examples of its range.

    Returns
    -------
    matplotlib.axes.Axes
        The title is the expected calibration error: the mean distance of points and diagonal, over the examples.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger, *On calibration of modern neural networks* (2017), equation 3.

    Examples
    --------
    >>> from fastml.plotting import plot_calibration
    >>> plot_calibration([0, 1], [[0.75, 0.25], [0.75, 0.25]]).get_title()
    'expected calibration error 25.0 %'
    """
    probabilities, bins = checks.check_logits(probabilities), scalars.check_integer("bins", bins, minimum=1)
    y = checks.check_labels(y, *probabilities.shape)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == y
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    counts = np.bincount(place, minlength=bins)
    some = counts > 0
    means, shares = (np.bincount(place, values, bins)[some] / counts[some] for values in (confidence, right))
    error = float(np.abs(means - shares) @ counts[some] / len(y))
    axes = new_axes((5, 5))[0] if axes is None else axes
    axes.plot([0, 100], [0, 100], color="0.6", linewidth=1)
    areas = 10 + 190 * counts[some] / counts.max()
    axes.scatter(100 * means, 100 * shares, s=areas, color=TEST_COLOUR, zorder=2)
    axes.set(xlabel="probability of the predicted class (%)", ylabel="right predictions (%)", aspect="equal")
    axes.set_title(f"expected calibration error {error:.1%}".replace("%", " %"))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return axes
