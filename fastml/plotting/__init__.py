"""Pictures of training runs, models and data sets, drawn on Matplotlib axes; requires Matplotlib.

Each function draws on the axes that it is given, or on a new figure, and returns the axes. `save_picture` writes the
figure of axes as PNG, SVG or PDF.

    curves.py        losses and errors of a run
    predictions.py   confusion matrix, mistakes, calibration
    images.py        weights and deformations as images
    figures.py       new figures, and files of them
"""

try:
    import matplotlib.figure  # noqa: F401
except ImportError as error:
    raise ImportError("pictures need Matplotlib: pip install 'fastml[plot]'") from error

from fastml.plotting.curves import plot_history
from fastml.plotting.figures import save_picture
from fastml.plotting.images import plot_deformations, plot_weights
from fastml.plotting.predictions import plot_calibration, plot_confusion, plot_mistakes

__all__ = [
    "plot_calibration",
    "plot_confusion",
    "plot_deformations",
    "plot_history",
    "plot_mistakes",
    "plot_weights",
    "save_picture",
]
