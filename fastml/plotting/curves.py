"""Learning curves of a training run."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fastml.history import History
from fastml.plotting.figures import TEST_COLOUR, TRAIN_COLOUR, VALID_COLOUR, new_axes

CURVES = (
    ("train", "training", TRAIN_COLOUR, "o--"),
    ("valid", "validation", VALID_COLOUR, "o:"),
    ("test", "test", TEST_COLOUR, "o-"),
)


def plot_history(history: History, axes: tuple[Axes, Axes] | None = None, title: str | None = None) -> NDArray[Any]:
    """Draw the learning curves of a training run: loss and error after each epoch, on each set of the run.

    Parameters
    ----------
    history : History
        With at least one row.
    axes : pair of matplotlib.axes.Axes, optional
        For the losses and for the errors.
    title : str, optional
        Title of the figure, such as the settings of the run.

    Returns
    -------
    ndarray of matplotlib.axes.Axes, shape (2,)

    Raises
    ------
    ValueError
        If the history has no row.

    Examples
    --------
    >>> import numpy as np
    >>> from fastml import train_softmax
    >>> from fastml.plotting import plot_history
    >>> losses, errors = plot_history(train_softmax(np.eye(2), [0, 1], epochs=3, verbose=False))
    >>> losses.get_ylabel(), errors.get_ylabel()
    ('loss (nats)', 'error (%)')
    """
    if not history.rows:
        raise ValueError("the history has no row to draw")
    epochs = [row.epoch for row in history.rows]
    panels = new_axes((9, 3.6), 2) if axes is None else np.asarray(axes, dtype=object)
    quantities = (("loss", "loss (nats)", 1), ("err", "error (%)", 100))
    for panel, (quantity, label, unit) in zip(panels, quantities, strict=True):
        for which, name, colour, style in CURVES:
            if getattr(history.rows[0], f"{which}_{quantity}") is None:
                continue
            values = [unit * getattr(row, f"{which}_{quantity}") for row in history.rows]
            panel.plot(epochs, values, style, color=colour, markersize=4, label=f"{name} set")
        panel.update_datalim([(epochs[0], 0)])
        panel.autoscale_view()
        panel.set_ylim(bottom=0)
        panel.set(xlabel="epoch", ylabel=label)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False)
    if title is not None:
        panels[0].figure.suptitle(title)
    return panels
