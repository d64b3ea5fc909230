"""Train and evaluate softmax regression and a two-layer ReLU network on the CPU, with compiled kernels."""

from typing import TYPE_CHECKING

from fastml import compile_notice  # noqa: F401, the import announces compilations from now on
from fastml.advice import FastmlWarning
from fastml.datasets import load_mnist, parse_mnist
from fastml.epochs import nn_epoch, softmax_regression_epoch
from fastml.evaluation import evaluate, loss_err, predict, predict_proba, softmax_loss
from fastml.history import History
from fastml.optimizers import SGD, AdamW, Momentum
from fastml.training import train_nn, train_softmax
from fastml.warmup import warmup
from fastml.weights import Weights, load_weights, save_weights

__version__ = "0.2.0"

__all__ = [
    "SGD",
    "AdamW",
    "FastmlWarning",
    "History",
    "Momentum",
    "Weights",
    "evaluate",
    "load_mnist",
    "load_weights",
    "loss_err",
    "nn_epoch",
    "parse_mnist",
    "predict",
    "predict_proba",
    "save_weights",
    "softmax_loss",
    "softmax_regression_epoch",
    "train_nn",
    "train_softmax",
    "warmup",
]


if TYPE_CHECKING:
    from fastml.estimators import load as load
else:  # type checkers must not see `__getattr__`: they would accept every name

    def __getattr__(name):
        """Import `load`, which requires scikit-learn, when it is used first."""
        if name == "load":
            from fastml.estimators import load

            return load
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
