"""Weights of a first layer, and deformed examples, as images."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from fastml import scalars
from fastml.arrays import as_array, describe
from fastml.plotting.figures import INCHES_OF_IMAGE, TEST_COLOUR, new_axes, tiled


def plot_weights(W: ArrayLike, shape: tuple[int, int], axes: Axes | None = None, most: int = 100) -> Axes:
    """Draw the weights of each output of a first layer as an image: red above 0, blue below, white 0.

    Parameters
    ----------
    W : array_like, shape (input_dim, outputs)
        ``theta`` or ``W1``.
    shape : (int, int)
        Rows and columns of the images; their product is input_dim.
    axes : matplotlib.axes.Axes, optional
        Where to draw.
    most : int
        At least 1. If there are more outputs, those with the largest norms are drawn, the largest first.

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
    >>> from fastml.plotting import plot_weights
    >>> plot_weights(np.eye(6), shape=(2, 3)).get_title()
    'weights of 6 outputs, from -1 to 1'
    """
    W, most = as_array("W", W), scalars.check_integer("most", most, minimum=1)
    if W.ndim != 2 or W.size == 0 or W.shape[0] != np.prod(shape):
        raise ValueError(f"W must be 2-D with {shape[0]} x {shape[1]} rows, got {describe(W)}")
    columns = np.arange(W.shape[1])
    if W.shape[1] > most:
        columns = np.argsort(-np.linalg.norm(W, axis=0), kind="stable")[:most]
    images, limit = W.T[columns].reshape(-1, *shape), float(np.abs(W[:, columns]).max())
    mosaic, (lines, across) = tiled(images.astype(np.float64))
    size = (across * 2 * INCHES_OF_IMAGE, lines * 2 * INCHES_OF_IMAGE * shape[0] / shape[1] + 0.4)
    axes = new_axes(size)[0] if axes is None else axes
    axes.imshow(mosaic, cmap="RdBu_r", vmin=-limit, vmax=limit)
    which = f"{len(columns)}" if len(columns) == W.shape[1] else f"{len(columns)} of {W.shape[1]}"
    axes.set_title(f"weights of {which} outputs, from {-limit:.3g} to {limit:.3g}")
    axes.set_axis_off()
    return axes


def plot_deformations(images: ArrayLike, axes: Axes | None = None) -> Axes:
    """Draw a contact sheet: each line shows an original image, then its deformations.

    Parameters
    ----------
    images : array_like of uint8, shape (lines, images of a line, rows, columns)
        At least two images in a line; the first is the original. 0 is drawn white, 255 black.
    axes : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If images have another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from fastml.plotting import plot_deformations
    >>> plot_deformations(np.zeros((2, 3, 4, 5), np.uint8)).get_images()[0].get_array().shape
    (8, 15)
    """
    images = as_array("images", images)
    if images.ndim != 4 or images.size == 0 or images.shape[1] < 2:
        raise ValueError(f"images must be (lines, 2 or more of a line, rows, columns), got shape {images.shape}")
    lines, across, rows, columns = images.shape
    if axes is None:
        inches = INCHES_OF_IMAGE
        axes = new_axes((inches * across, inches * lines * rows / columns), layout=None)[0]
        axes.set_position((0, 0, 1, 1))
    axes.imshow(images.swapaxes(1, 2).reshape(lines * rows, across * columns), cmap="gray_r", vmin=0, vmax=255)
    axes.axvline(columns - 0.5, color=TEST_COLOUR, linewidth=1)
    axes.set_axis_off()
    return axes
