"""Train and evaluate softmax regression and a two-layer ReLU network on the CPU, with compiled kernels."""

from fastml.datasets import load_mnist, parse_mnist
from fastml.epochs import nn_epoch, softmax_regression_epoch
from fastml.evaluation import evaluate, loss_err, predict, predict_proba, softmax_loss
from fastml.history import History
from fastml.training import train_nn, train_softmax
from fastml.warmup import warmup

__all__ = [
    "History",
    "evaluate",
    "load_mnist",
    "loss_err",
    "nn_epoch",
    "parse_mnist",
    "predict",
    "predict_proba",
    "softmax_loss",
    "softmax_regression_epoch",
    "train_nn",
    "train_softmax",
    "warmup",
]
