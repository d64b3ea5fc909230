"""Draws the pictures of the documentation, docs/pictures: python benchmarks/pictures.py; half a minute.

docs/pictures/estimators.svg is the chart of `benchmarks/estimators.py --plot`, which measures.
"""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import svg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fastml import AdamW, History, Momentum, load_mnist, predict_proba, train_nn
from fastml.datasets import deform
from fastml.plotting import plot_deformations, plot_history, plot_mistakes, save_picture
from fastml.plotting.figures import TEST_COLOUR, TRAIN_COLOUR, VALID_COLOUR

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
SHAPE, DIGITS, DEFORMATIONS = (28, 28), 4, 7
# A mini-batch, and the rows of half a register tile.
BATCH, PAIR = 100, 2
# The runs of the commands on the page about training, with the colours of their curves.
COSINE = {"bias": True, "shuffle": True, "schedule": "cosine"}
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain SGD, lr 0.2": (TRAIN_COLOUR, {"lr": 0.2}),
    "Nesterov's momentum, lr 0.1": (VALID_COLOUR, {"lr": 0.1, "optimizer": Momentum(), "warmup_epochs": 1, **COSINE}),
    "AdamW, lr 0.002": (TEST_COLOUR, {"lr": 0.002, "optimizer": AdamW(decay=0.01), **COSINE}),
}


def trained(hidden_dim: int, epochs: int, **settings: Any) -> History:
    """Return the history of a network on MNIST."""
    (X, y), (X_test, y_test) = load_mnist(raw=True)
    return train_nn(X, y, X_test, y_test, hidden_dim, epochs, scale=1 / 255, verbose=False, **settings)


def curves() -> Figure:
    """Return the learning curves of a network of 100 hidden units."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    plot_history(trained(100, 20, lr=0.2), tuple(figure.subplots(1, 2)))
    return figure


def optimizers() -> Figure:
    """Return the test errors of the three optimizers."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for label, (colour, settings) in RUNS.items():
        errors = [100 * row.test_err for row in trained(400, 15, **settings)]
        axes.plot(range(len(errors)), errors, "o-", color=colour, markersize=4, label=label)
        axes.annotate(f"{errors[-1]:.1f}", (len(errors) - 1, errors[-1]), (6, -3), textcoords="offset points")
    axes.set(xlabel="epoch", ylabel="test error (%)", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def patterns() -> Figure:
    """Return which pixels of a mini-batch are not zero, and which of them pairs of rows multiply."""
    (X, y), _ = load_mnist(raw=True)
    marks = (X[:BATCH] != 0)[np.argsort(y[:BATCH], kind="stable")]
    listed = np.repeat(marks.reshape(-1, PAIR, marks.shape[1]).any(axis=1), PAIR, axis=0)
    figure = Figure(figsize=(9, 3), layout="constrained")
    titles = (
        f"{marks.mean():.0%} of the pixels are not zero",
        f"{listed.mean():.0%} are multiplied by pairs of rows",
    )
    for axes, image, title in zip(figure.subplots(1, 2, sharey=True), (marks, listed), titles, strict=True):
        axes.imshow(image, cmap="gray_r", aspect="auto", interpolation="nearest")
        axes.set(title=title, xlabel="pixel")
    figure.axes[0].set_ylabel("row of the mini-batch, by label")
    return figure


def main() -> None:
    """Draw all pictures."""
    PICTURES.mkdir(exist_ok=True)
    for draw in (curves, optimizers):
        with matplotlib.rc_context(svg.STYLE):
            figure = draw()
        svg.save(figure, PICTURES / f"{draw.__name__}.svg")
    save_picture(patterns().axes[0], PICTURES / "patterns.png")
    (X, _), (X_test, y_test) = load_mnist(raw=True)
    originals = X[:DIGITS].reshape(-1, *SHAPE)
    # Image number k is a deformation of digit k modulo DIGITS.
    deformed = deform(originals, np.arange(DEFORMATIONS * DIGITS)).reshape(DEFORMATIONS, DIGITS, *SHAPE)
    sheet = np.concatenate([originals[None], deformed]).swapaxes(0, 1)
    save_picture(plot_deformations(sheet), PICTURES / "deformations.png")
    probabilities = predict_proba(X_test, trained(100, 5, lr=0.2).weights)
    save_picture(plot_mistakes(X_test, y_test, probabilities, SHAPE, most=20), PICTURES / "mistakes.png")


if __name__ == "__main__":
    main()
