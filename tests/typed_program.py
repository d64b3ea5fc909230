"""A user's program, which `mypy --strict` accepts. Each `type: ignore` is a mistake that it must find."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import fastml
from fastml import AdamW, FastmlWarning, History, Weights
from fastml.datasets import ImageSet, deform, read_idx
from fastml.datasets.convert import Layout, convert
from fastml.history import EpochResult


def train(directory: Path) -> History:
    """Train both models in the ways that the README shows."""
    train_set, test_set = fastml.load_mnist(raw=True)
    X, y = train_set
    history: History = fastml.train_nn(X, y, *test_set, hidden_dim=100, epochs=5, scale=train_set.scale)
    fastml.train_nn(X, y, schedule="cosine", last_batch="mean", class_weight="balanced", checkpoint=directory)
    fastml.train_softmax(X, y, class_weight={0: 2.0}, optimizer=AdamW(decay=0.01), schedule=lambda e, n: 1 - e / n)
    fastml.train_nn(X, y, schedule="cosin")  # type: ignore[arg-type]
    fastml.train_nn(X, y, last_batch="sum")  # type: ignore[arg-type]
    fastml.train_softmax(X, y, class_weight="balance")  # type: ignore[arg-type]
    fastml.train_softmax(X, y, hidden_dim=3)  # type: ignore[call-arg]
    fastml.trian_nn(X, y)  # type: ignore[attr-defined]
    return history


def read(history: History) -> float:
    """Use a history as a sequence."""
    last: EpochResult = history[-1]
    some: list[EpochResult] = history[1:3]
    losses: list[float] = [row.train_loss for row in history]
    errors: list[float | None] = [row.test_err for row in some]
    wrong: str = history[0]  # type: ignore[assignment]
    print(history, wrong, errors, history.to_dict()["train_loss"], len(history))
    history.save("run.npz")
    return last.seconds + sum(losses)


def step(X: NDArray[np.uint8], y: NDArray[np.int64]) -> tuple[float, float]:
    """Use the epoch functions, and what judges a model."""
    W1, W2 = np.zeros((784, 10), np.float32), np.zeros((10, 10), np.float32)
    fastml.nn_epoch(X, y, W1, W2, lr=0.1, scale=np.full(784, 1 / 255), last_batch="nominal")
    fastml.nn_epoch(X, y, W1, W2, last_batch="median")  # type: ignore[arg-type]
    fastml.nn_epoch(X, y, W1)  # type: ignore[call-arg]
    weights = Weights([W1, W2], scale=1 / 255)
    labels: NDArray[np.int64] = fastml.predict(X, weights)
    fastml.save_weights("weights.npz", weights, {"labels": labels.tolist()})
    loaded, settings = fastml.load_weights("weights.npz")
    print(settings["labels"], fastml.predict_proba(X, *loaded, **loaded.keywords), FastmlWarning)
    return fastml.evaluate(X, y, loaded)


def sets(images: NDArray[np.uint8]) -> ImageSet:
    """Use the data sets."""
    (X, y), test = fastml.load_mnist()
    convert("train.csv", "images", None, text_format="csv", layout=Layout(label_column=-1))
    convert("train.csv", "images", "labels", text_format="tsv")  # type: ignore[arg-type]
    print(read_idx("images").shape, deform(images, [0, 1]).shape, X.shape, y.shape, test.X, fastml.__version__)
    return test
