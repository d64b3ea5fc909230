"""`fastml train`: train a model and print a line for each epoch."""

import argparse
import importlib
import math
import signal
import sys
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numba

from fastml.callbacks import Callback
from fastml.checkpoints import FILE_NAME
from fastml.cli.arguments import (
    PICTURE,
    Commands,
    add_command,
    add_data,
    add_quiet,
    address,
    check_outputs,
    integer_in,
    name_ending,
    progress_unless_quiet,
    real,
)
from fastml.cli.log import log_of
from fastml.cli.signals import KEPT, Stopped, Terminated, raising_at_sigterm, stopping_between_slices
from fastml.datasets import load_mnist
from fastml.history import History
from fastml.optimizers import SGD, AdamW, Momentum, Optimizer
from fastml.options import Progress
from fastml.schedules import SCHEDULES
from fastml.training import train_nn, train_softmax
from fastml.weights import save_weights

HIDDEN = 400
OPTIMIZERS = ("sgd", "momentum", "nesterov", "adamw")


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the command to the argparse commands and return its parser."""
    purpose = "Train a model and print a line for each epoch, on MNIST unless other data are given."
    parser = add_command(commands, "train", purpose, "fastml train --hidden 100 --epochs 10 --save weights.npz")
    add_data(parser)
    add_quiet(parser)
    add = parser.add_argument
    models: dict[str, Any] = {"choices": ("nn", "softmax"), "default": "nn"}
    add("--model", **models, help="two-layer network or softmax regression (default: %(default)s)")
    positive: dict[str, Any] = {"type": integer_in(1), "metavar": "N"}
    add("--hidden", **positive, help=f"hidden units of the network (default: {HIDDEN})")
    add("--epochs", **positive, default=20, help="passes over the training set (default: %(default)s)")
    add("--lr", type=real, default=0.2, metavar="X", help="step size (default: %(default)s)")
    add("--schedule", choices=SCHEDULES, default="constant", help="how the step size changes (default: %(default)s)")
    add("--warmup", type=integer_in(0), default=0, metavar="N", help="first epochs, in which the step size rises")
    add("--optimizer", choices=OPTIMIZERS, default="sgd", help="how a gradient changes the weights (default: sgd)")
    add("--momentum", type=real, metavar="X", help="momentum of the optimizers momentum and nesterov (default: 0.9)")
    add("--decay", type=real, metavar="X", help="weight decay of adamw (default: 0)")
    add("--l2", type=real, default=0.0, metavar="X", help="penalty of the squared weights (default: %(default)s)")
    add("--bias", action="store_true", help="give each layer a bias")
    add("--standardize", action="store_true", help="train on pixels with mean 0 and deviation 1")
    add("--batch", **positive, default=100, help="examples in a mini-batch (default: %(default)s)")
    seeds = integer_in(0, 2**32 - 1)
    add("--shuffle", action="store_true", help="visit the examples in a new random order each epoch")
    add("--deform", action="store_true", help="train on new small deformations of the images each epoch")
    add("--seed", type=seeds, default=0, metavar="N", help="seed of all random numbers (default: %(default)s)")
    threads = integer_in(1, numba.config.NUMBA_NUM_THREADS)
    add("--threads", type=threads, metavar="N", help="threads to train on (default: as many as Numba has)")
    add("--dask", type=address, metavar="ADDRESS", help="train on a Dask cluster: tcp://HOST:PORT or local[:N]")
    add("--shards", **positive, help="with --dask, shards of the training set (default: those of generate, or 4)")
    add("--save", type=name_ending(".npz"), metavar="FILE.npz", help="save the weights and the settings")
    add("--force", action="store_true", help="overwrite an existing file of --save, as --resume does")
    add("--checkpoint", metavar="DIR", help="save the run in a directory, after each epoch and each minute")
    add("--resume", action="store_true", help="continue the run in the directory of --checkpoint, or start a new one")
    add("--log", type=name_ending(".jsonl"), metavar="FILE.jsonl", help="append a line of JSON for each epoch")
    add("--plot", **PICTURE, help="draw the learning curves, as PNG, SVG or PDF")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Train a model, after a check that the results can be written."""
    check_options(arguments)
    plotting = check_outputs(arguments.save, arguments.log, arguments.plot)
    settings, optimizer = settings_of(arguments), optimizer_of(arguments)
    train = train_here
    if arguments.dask is not None:
        importlib.import_module("fastml.dask")  # the ImportError says what to install
        train = importlib.import_module("fastml.cli.cluster").train_there
    if arguments.resume and not Path(arguments.checkpoint, FILE_NAME).exists():
        print(f"fastml: {arguments.checkpoint} holds no run yet: a new run starts", file=sys.stderr)
    trained = 0

    def count_epoch(_: History) -> None:
        nonlocal trained
        trained += 1

    # With a checkpoint, `train` handles signals itself. Without a file to write, SIGTERM ends the process.
    keeps = arguments.checkpoint is None and (arguments.save is not None or arguments.plot is not None)
    try:
        with raising_at_sigterm() if keeps else nullcontext():
            history, num_examples = train(arguments, settings, optimizer, count_epoch)
    except (KeyboardInterrupt, BrokenPipeError) as error:
        written = keep_results(arguments, settings, getattr(error, "history", None), plotting)
        if isinstance(error, BrokenPipeError):
            raise
        is_terminated = isinstance(error, Terminated)
        message = "terminated" if is_terminated else "interrupted"
        if written:
            message += f"; {written}. A run with --checkpoint DIR can be resumed"
        raise Stopped(signal.SIGTERM if is_terminated else signal.SIGINT, message) from error

    if trained == 0:
        print(f"the run in {arguments.checkpoint} is finished: it has {len(history)} epochs")
    seconds, last = sum(row.seconds for row in history.rows), history[-1]
    rate = arguments.epochs * num_examples / seconds
    which, err = ("training", last.train_err) if last.test_err is None else ("test", last.test_err)
    print(f"{which} error {err:.2%}; {seconds:.2f} s of training, {rate:,.0f} examples per second")
    keep_results(arguments, settings, history, plotting)


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that are saved with the weights."""
    names = ("lr", "schedule", "batch", "shuffle", "seed", "l2", "bias", "standardize")
    settings = {name: getattr(arguments, name) for name in names}
    if arguments.model == "nn":
        settings["hidden_dim"] = hidden_units(arguments)
    more = {"model": arguments.model, "optimizer": repr(optimizer_of(arguments)), "warmup_epochs": arguments.warmup}
    return settings | more


def train_here(
    arguments: argparse.Namespace, settings: dict[str, Any], optimizer: Optimizer, count_epoch: Callback
) -> tuple[History, int]:
    """Train in this process; return the history and the number of training examples."""
    if arguments.threads is not None:
        numba.set_num_threads(arguments.threads)
    with progress_unless_quiet(arguments, "B") as progress:
        train_set, test_set = load_mnist(arguments.data, raw=True, progress=progress)
    names = ("lr", "schedule", "batch", "shuffle", "seed", "l2", "bias", "standardize", "warmup_epochs")
    used: dict[str, Any] = {name: settings[name] for name in names}
    if len(test_set.y):
        used["X_te"], used["y_te"] = test_set
    else:
        print(f"fastml: {arguments.data} holds no test set", file=sys.stderr)
    if not arguments.standardize:
        used["scale"] = train_set.scale
    if arguments.deform:
        used["deform"] = settings["deform"] = square(train_set[0].shape[1])
    train = train_softmax if arguments.model == "softmax" else partial(train_nn, hidden_dim=settings["hidden_dim"])
    log = log_of(arguments, settings, train_set, test_set)
    with ExitStack() as stack:
        shown: Progress | None = stack.enter_context(progress_unless_quiet(arguments, " examples"))
        if arguments.checkpoint is not None:
            message = KEPT.format(arguments.checkpoint)
            shown = stack.enter_context(stopping_between_slices(shown, message))
        used |= {"epochs": arguments.epochs, "optimizer": optimizer, "verbose": not arguments.quiet}
        used |= {"checkpoint": arguments.checkpoint, "resume": arguments.resume}
        history = train(*train_set, **used, progress=shown, callback=[count_epoch, *([log] if log else [])])
    if log is not None:
        log(history)
    return history, len(train_set.y)


def check_options(arguments: argparse.Namespace) -> None:
    """Reject options that do not fit each other, and a file that would be overwritten."""
    if arguments.resume and arguments.checkpoint is None:
        raise ValueError("--resume needs --checkpoint DIR, the directory that the run is kept in")
    if arguments.shards is not None and arguments.dask is None:
        raise ValueError("--shards needs --dask, the cluster that the shards are trained on")
    if arguments.hidden is not None and arguments.model != "nn":
        raise ValueError(f"--hidden needs --model nn, got {arguments.model}")
    if arguments.save is not None and Path(arguments.save).is_file() and not (arguments.force or arguments.resume):
        raise FileExistsError(f"{arguments.save} exists already: choose another name, or overwrite it with --force")


def keep_results(
    arguments: argparse.Namespace, settings: dict[str, Any], history: History | None, plotting: ModuleType | None
) -> str:
    """Save the weights and draw the curves, if they are requested and exist; return a text on the written files."""
    written = []
    if history is not None and arguments.save is not None:
        settings = settings | {"epochs": len(history), "history": history.to_dict()}
        save_weights(arguments.save, history.weights, settings)
        written.append(f"{arguments.save} holds the weights after the last whole batch")
    if history is not None and history.rows and plotting is not None:
        plotting.save_picture(plotting.plot_history(history, title=title_of(arguments)), arguments.plot)
        written.append(f"{arguments.plot} shows the curves so far")
    return ", ".join(written)


def title_of(arguments: argparse.Namespace) -> str:
    """Return the title of the learning curves: the model, its main settings, and others that are not the default."""
    model = "softmax regression" if arguments.model == "softmax" else f"network, {hidden_units(arguments)} hidden units"
    parts = [model, arguments.optimizer, f"lr {arguments.lr:g}", f"batch {arguments.batch}"]
    if arguments.schedule != "constant":
        parts.append(f"{arguments.schedule} schedule")
    parts += [name for name in ("bias", "standardize", "shuffle", "deform") if getattr(arguments, name)]
    return ", ".join(parts)


def hidden_units(arguments: argparse.Namespace) -> int:
    """Return the number of hidden units of the network."""
    return HIDDEN if arguments.hidden is None else arguments.hidden


def optimizer_of(arguments: argparse.Namespace) -> Optimizer:
    """Return the optimizer of the arguments; reject an option that the optimizer does not have."""
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
        raise ValueError(f"--deform needs square images, got images of {pixels} pixels")
    return [side, side]
