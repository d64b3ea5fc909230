"""New figures and their axes, files of figures, and what pictures share."""

import os
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fastml import scalars
from fastml.files import replacing

# Three of Okabe and Ito's colours, distinguishable with every kind of colour vision, and in grey.
TRAIN_COLOUR, VALID_COLOUR, TEST_COLOUR = "#0072B2", "#009E73", "#D55E00"
SUFFIXES = (".png", ".svg", ".pdf")
PIXELS_PER_INCH = 150
INCHES_OF_IMAGE = 0.5


def save_picture(axes: Axes | NDArray[Any], path: str | os.PathLike[str]) -> None:
    """Write the figure of axes as PNG, SVG or PDF, by the suffix of the path, completely or not at all.

    Parameters
    ----------
    axes : matplotlib.axes.Axes or ndarray of them
        What a function of this module returns.
    path : str or os.PathLike
        Its name ends in ``.png``, ``.svg`` or ``.pdf``.

    Raises
    ------
    ValueError
        If the path has another suffix.
    OSError
        If the file cannot be written.
    """
    suffix = scalars.check_choice("the suffix of path", Path(path).suffix.lower(), SUFFIXES)
    first: Any = axes if isinstance(axes, Axes) else axes[0]
    figure, picture = first.figure, BytesIO()
    figure.savefig(picture, format=suffix[1:], dpi=PIXELS_PER_INCH)
    with replacing(path) as file:
        file.write(picture.getvalue())


def new_axes(inches: tuple[float, float], columns: int = 1, layout: str | None = "constrained") -> NDArray[Any]:
    """Return the axes of a new figure, in a row.

    Pyplot manages the figure in a notebook, which then shows the figure, and in a program that uses pyplot. Elsewhere
    pyplot is not imported.
    """
    settings: dict[str, Any] = {"figsize": inches, "dpi": PIXELS_PER_INCH, "layout": layout}
    if "matplotlib.pyplot" in sys.modules or "ipykernel" in sys.modules:
        import matplotlib.pyplot as plt

        figure = plt.figure(**settings)
    else:
        figure = Figure(**settings)
    (axes,) = figure.subplots(1, columns, squeeze=False)
    row: NDArray[Any] = axes
    return row


def tiled(images: NDArray[Any]) -> tuple[NDArray[Any], tuple[int, int]]:
    """Return images, (count, rows, columns), side by side with gaps of a pixel, and how many lines and columns."""
    count, rows, columns = images.shape
    across = int(np.ceil(np.sqrt(count * rows / columns)))
    lines = -(-count // across)
    mosaic = np.zeros((lines * (rows + 1), across * (columns + 1)))
    for place, image in enumerate(images):
        top, left = np.multiply(divmod(place, across), (rows + 1, columns + 1))
        mosaic[top : top + rows, left : left + columns] = image
    return mosaic[:-1, :-1], (lines, across)
