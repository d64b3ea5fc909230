"""`fastml train`: train a model and print a line for each epoch."""

import argparse
import copy
import importlib
import math
from contextlib import ExitStack
from functools import partial
from typing import Any

import numba

from fastml.cli.arguments import (
    PICTURE,
    PIXEL_SCALE,
    address,
    check_outputs,
    data_directory,
    integer_in,
    name_ending,
    real,
)
from fastml.cli.log import log_of
from fastml.cli.signals import KEPT, stopping_between_slices
from fastml.datasets import load_mnist
from fastml.history import History
from fastml.optimizers import SGD, AdamW, Momentum, Optimizer
from fastml.progress import progress_bar
from fastml.schedules import SCHEDULES
from fastml.training import train_nn, train_softmax
from fastml.weights import save_weights

OPTIMIZERS = ("sgd", "momentum", "nesterov", "adamw")


def add(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Add the command to the argparse commands and return its parser."""
    parser = commands.add_parser(
        "train", parents=[data_directory()], help="train a model and print a line for each epoch"
    )
    add = parser.add_argument
    models = {"choices": ("nn", "softmax"), "default": "nn"}
    add("--model", **models, help="two-layer network or softmax regression (default: %(default)s)")
    positive = {"type": integer_in(1), "metavar": "N"}
    add("--hidden", **positive, default=400, help="hidden units of the network (default: %(default)s)")
    add("--epochs", **positive, default=20, help="passes over the training set (default: %(default)s)")
    add("--lr", type=real, default=0.2, metavar="X", help="step size (default: %(default)s)")
    add("--schedule", choices=SCHEDULES, default="constant", help="how the step size changes (default: %(default)s)")
    add("--warmup", type=integer_in(0), default=0, metavar="N", help="epochs in which the step size first rises")
    add("--optimizer", choices=OPTIMIZERS, default="sgd", help="how a gradient changes the weights (default: sgd)")
    add("--momentum", type=real, metavar="X", help="momentum of the optimizers that have one (default: 0.9)")
    add("--decay", type=real, metavar="X", help="weight decay of adamw (default: 0)")
    add("--l2", type=real, default=0.0, metavar="X", help="penalty of the squared weights (default: %(default)s)")
    add("--bias", action="store_true", help="give each layer a bias")
    add("--standardize", action="store_true", help="train on pixels with mean 0 and deviation 1")
    add("--batch", **positive, default=100, help="examples in a mini-batch (default: %(default)s)")
    seeds = integer_in(0, 2**32 - 1)
    add("--shuffle", action="store_true", help="visit the examples in another order each epoch")
    add("--deform", action="store_true", help="train on new small deformations of the images each epoch")
    add("--seed", type=seeds, default=0, metavar="N", help="seed of all random numbers (default: %(default)s)")
    threads = integer_in(1, numba.config.NUMBA_NUM_THREADS)
    add("--threads", type=threads, metavar="N", help="threads to train on (default: as many as Numba has)")
    add("--dask", type=address, metavar="ADDRESS", help="train on a Dask cluster: tcp://HOST:PORT or local[:N]")
    add("--shards", **positive, help="shards of the training set with --dask (default: the files of generate, or 4)")
    add("--save", type=name_ending(".npz"), metavar="FILE.npz", help="save the weights and the settings")
    add("--checkpoint", metavar="DIR", help="save the run in a directory, after each epoch and each minute")
    add("--resume", action="store_true", help="continue the run in the directory of --checkpoint")
    add("--log", type=name_ending(".jsonl"), metavar="FILE.jsonl", help="append a line of JSON for each epoch")
    add("--plot", **PICTURE, help="draw the learning curves, as PNG, SVG or PDF")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Train a model, after a check that the results can be written."""
    if arguments.resume and arguments.checkpoint is None:
        raise ValueError("--resume needs --checkpoint DIR, the directory that the run was kept in")
    if arguments.shards is not None and arguments.dask is None:
        raise ValueError("--shards needs --dask, the cluster that the shards are trained on")
    plotting = check_outputs(arguments.save, arguments.log, arguments.plot)
    settings, optimizer = settings_of(arguments), optimizer_of(arguments)
    trained = train_here
    if arguments.dask is not None:
        importlib.import_module("fastml.dask")  # its error says what to install
        trained = importlib.import_module("fastml.cli.cluster").train_there
    history, num_examples = trained(arguments, settings, optimizer)

    seconds = sum(row.seconds for row in history.rows)
    rate = arguments.epochs * num_examples / seconds
    print(f"test error {history[-1].test_err:.2%}; {seconds:.2f} s of training, {rate:,.0f} examples per second")
    if arguments.save is not None:
        settings |= {"model": arguments.model, "epochs": arguments.epochs, "optimizer": repr(optimizer)}
        settings |= {"warmup_epochs": arguments.warmup}
        save_weights(arguments.save, history.weights, settings)
    if plotting is not None:
        plotting.save_picture(plotting.plot_history(history, title=title_of(arguments)), arguments.plot)


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that are saved with the weights."""
    names = ("lr", "schedule", "batch", "shuffle", "seed", "l2", "bias", "standardize")
    return {name: getattr(arguments, name) for name in names}


def train_here(arguments: argparse.Namespace, settings: dict[str, Any], optimizer: Optimizer) -> tuple[History, int]:
    """Train in this process; return the history and the number of training examples."""
    if arguments.threads is not None:
        numba.set_num_threads(arguments.threads)
    with progress_bar("B") as progress:
        train_set, test_set = load_mnist(arguments.data, raw=True, progress=progress)

    used = settings | {"warmup_epochs": arguments.warmup}
    if not arguments.standardize:
        used["scale"] = PIXEL_SCALE
    if arguments.deform:
        used["deform"] = settings["deform"] = square(train_set[0].shape[1])
    if arguments.model == "softmax":
        train = partial(train_softmax, **used)
    else:
        settings["hidden_dim"] = arguments.hidden
        train = partial(train_nn, **used, hidden_dim=arguments.hidden)
    # Training on one example compiles or loads every kernel, so that the time of an epoch does not include this.
    one = [array[:1] for array in train_set]
    train(*one, *one, epochs=1, optimizer=copy.deepcopy(optimizer), verbose=False)
    log = log_of(arguments, settings, optimizer, train_set, test_set)
    with ExitStack() as stack:
        progress = stack.enter_context(progress_bar())
        if arguments.checkpoint is not None:
            message = KEPT.format(arguments.checkpoint)
            progress = stack.enter_context(stopping_between_slices(progress, message))
        run = {
            "epochs": arguments.epochs,
            "optimizer": optimizer,
            "checkpoint": arguments.checkpoint,
            "resume": arguments.resume,
        }
        history = train(*train_set, *test_set, **run, progress=progress, callback=log)
    if log is not None:
        log(history)
    return history, len(train_set[0])


def title_of(arguments: argparse.Namespace) -> str:
    """Return the title of the learning curves: the settings that are not the default ones, after the model."""
    model = "softmax regression" if arguments.model == "softmax" else f"network, {arguments.hidden} hidden units"
    parts = [model, arguments.optimizer, f"lr {arguments.lr:g}", f"batch {arguments.batch}"]
    if arguments.schedule != "constant":
        parts.append(f"{arguments.schedule} schedule")
    parts += [name for name in ("bias", "standardize", "shuffle", "deform") if getattr(arguments, name)]
    return ", ".join(parts)


def optimizer_of(arguments: argparse.Namespace) -> Optimizer:
    """Return the optimizer of the arguments; reject an argument that it does not have."""
    kind, given = arguments.optimizer, {}
    for option, owners in (("momentum", ("momentum", "nesterov")), ("decay", ("adamw",))):
        value = getattr(arguments, option)
        if value is not None and kind not in owners:
            raise ValueError(f"--{option} needs --optimizer {' or '.join(owners)}, got {kind}")
        if value is not None:
            given[option] = value
    if kind == "sgd":
        return SGD()
    return AdamW(**given) if kind == "adamw" else Momentum(nesterov=kind == "nesterov", **given)


def square(pixels: int) -> list[int]:
    """Return the sides of square images with a number of pixels."""
    side = math.isqrt(pixels)
    if side**2 != pixels:
        raise ValueError(f"--deform needs square images, these have {pixels} pixels")
    return [side, side]
