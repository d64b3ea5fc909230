"""The command `fastml`: train a model on MNIST or data like it, evaluate it, and tell what it runs on."""

import argparse
import importlib
import math
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from types import ModuleType

import llvmlite
import numba
import numpy as np
from numba.core import event
from numba.core.registry import cpu_target
from numpy.typing import NDArray

from fastml.datasets import load_mnist
from fastml.epochs import Progress
from fastml.evaluation import evaluate, predict
from fastml.files import check_destination
from fastml.kernels.simd import REGISTER_BYTES
from fastml.kernels.softmax import losses_and_predictions
from fastml.training import train_nn, train_softmax
from fastml.weights import load_weights, save_weights

PIXEL_SCALE = 1 / 255
# An epoch that ends sooner gets no progress bar: it would only flicker.
BAR_DELAY_SECONDS = 0.5
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Its arguments; by default those of the process.

    Returns
    -------
    int
        The exit status: 0; 1 where the loss is not finite or nobody reads the output any more; 2 where an argument or a
        file is not what it should be; 130 after an interrupt.

    Raises
    ------
    SystemExit
        From argparse, with status 2 for arguments that it refuses, 0 after ``--help`` and ``--version``.
    """
    arguments = make_parser().parse_args(argv)
    try:
        with event.install_listener("numba:compile", CompileNotice()):
            arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more when it exits; that must not fail as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except FloatingPointError as error:
        return fail(error, 1)
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        return fail(error, 2)
    except KeyboardInterrupt:
        print("fastml: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def fail(error: Exception, status: int) -> int:
    """Print an error as one line and return the exit status."""
    print("fastml: error:", " ".join(str(error).split()) or type(error).__name__, file=sys.stderr)
    return status


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; what it parses has the function of the chosen command as `run`."""
    parser = argparse.ArgumentParser(prog="fastml", description="Train and evaluate models on MNIST or data like it.")
    parser.add_argument("--version", action="version", version=f"fastml {version('fastml')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    data = argparse.ArgumentParser(add_help=False)
    data.add_argument("--data", metavar="DIR", help="directory with four IDX files named like MNIST's (default: MNIST)")

    train = commands.add_parser("train", parents=[data], help="train a model and print a table, a line an epoch")
    train.set_defaults(run=run_train)
    add = train.add_argument
    models = {"choices": ("nn", "softmax"), "default": "nn"}
    add("--model", **models, help="two-layer network or softmax regression (default: %(default)s)")
    positive = {"type": integer_in(1), "metavar": "N"}
    add("--hidden", **positive, default=400, help="hidden units of the network (default: %(default)s)")
    add("--epochs", **positive, default=20, help="passes over the training set (default: %(default)s)")
    add("--lr", type=real, default=0.2, metavar="X", help="step size (default: %(default)s)")
    add("--batch", **positive, default=100, help="examples of a mini-batch (default: %(default)s)")
    seeds = integer_in(0, 2**32 - 1)
    add("--seed", type=seeds, default=0, metavar="N", help="for the weights of the network (default: %(default)s)")
    threads = integer_in(1, numba.config.NUMBA_NUM_THREADS)
    add("--threads", type=threads, metavar="N", help="threads to train on (default: as many as Numba has)")
    add("--save", type=name_ending(".npz"), metavar="FILE.npz", help="save the weights and the settings")
    add("--plot", type=name_ending(".png"), metavar="FILE.png", help="draw the learning curves")

    test = commands.add_parser("evaluate", parents=[data], help="print the loss, error and confusion matrix of a model")
    test.set_defaults(run=run_evaluate)
    test.add_argument("file", metavar="FILE.npz", help="what `fastml train --save` saved")
    test.add_argument("--plot", type=name_ending(".png"), metavar="FILE.png", help="draw the confusion matrix")

    info = commands.add_parser("info", help="print versions, CPU, threads and cache")
    info.set_defaults(run=run_info)
    return parser


def integer_in(minimum: int, maximum: float = math.inf) -> Callable[[str], int]:
    """Return the argument type of the integers from minimum to maximum, under the name that argparse shows."""

    def integer(text: str) -> int:
        value = int(text)
        if not minimum <= value <= maximum:
            bounds = f"at least {minimum}" if maximum == math.inf else f"from {minimum} to {maximum}"
            raise argparse.ArgumentTypeError(f"must be {bounds}, got {value}")
        return value

    return integer


def real(text: str) -> float:
    """Return a finite number: an argument type."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be finite, got {value}")
    return value


def name_ending(suffix: str) -> Callable[[str], str]:
    """Return the argument type of the names of files that end in suffix."""

    def name(text: str) -> str:
        if not text.endswith(suffix):
            raise argparse.ArgumentTypeError(f"must end in {suffix}, got {text}")
        return text

    return name


def run_train(arguments: argparse.Namespace) -> None:
    """Train a model; what could keep its results from being written is found before."""
    plotting = check_outputs(arguments.save, arguments.plot)
    if arguments.threads is not None:
        numba.set_num_threads(arguments.threads)
    train_set, test_set = load_mnist(arguments.data, raw=True)

    settings = {"lr": arguments.lr, "batch": arguments.batch}
    if arguments.model == "softmax":
        train = partial(train_softmax, **settings, scale=PIXEL_SCALE)
    else:
        settings |= {"hidden_dim": arguments.hidden, "seed": arguments.seed}
        train = partial(train_nn, **settings, scale=PIXEL_SCALE)
    # One example makes Numba compile, or load, every kernel: no epoch's seconds hold that.
    one = [array[:1] for array in train_set]
    train(*one, *one, epochs=1, verbose=False)
    with progress_bar() as progress:
        history = train(*train_set, *test_set, epochs=arguments.epochs, progress=progress)

    seconds = sum(row.seconds for row in history.rows)
    rate = arguments.epochs * len(train_set[0]) / seconds
    print(f"test error {history[-1].test_err:.2%}; {seconds:.2f} s of training, {rate:,.0f} examples per second")
    if arguments.save is not None:
        settings |= {"model": arguments.model, "epochs": arguments.epochs}
        save_weights(arguments.save, history.weights, settings)
    if plotting is not None:
        plotting.plot_history(history, arguments.plot)


def run_evaluate(arguments: argparse.Namespace) -> None:
    """Print the loss, the error and the confusion matrix of saved weights on the test set."""
    plotting = check_outputs(arguments.plot)
    weights, _ = load_weights(arguments.file)
    _, (X, y) = load_mnist(arguments.data, raw=True)
    loss, err = evaluate(X, y, *weights, scale=PIXEL_SCALE)
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss of {arguments.file} is {loss}")
    num_classes = weights[-1].shape[1]
    pairs = num_classes * y.astype(np.int64) + predict(X, *weights, scale=PIXEL_SCALE)
    matrix = np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    print(f"test loss {loss:.5f}, test error {err:.2%} of {len(y)} examples")
    print("rows: true class, columns: predicted class")
    print(format_matrix(matrix))
    if plotting is not None:
        plotting.plot_confusion(matrix, arguments.plot)


def run_info(arguments: argparse.Namespace) -> None:
    """Print what a report of a problem, or of a speed, should come with."""
    _, cpu, _ = cpu_target.target_context.codegen().magic_tuple()
    threads = numba.get_num_threads()  # starts them: before, no threading layer is chosen
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = {
        "fastml": version("fastml"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
        "cpu": cpu,
        "vectors": f"{8 * REGISTER_BYTES} bits",
        "usable cores": cores,
        "threads": threads,
        "threading layer": numba.threading_layer(),
        "cache": losses_and_predictions.stats.cache_path or "none: no directory that can be written",
    }
    for name, fact in facts.items():
        print(f"{name:<16} {fact}")


def check_outputs(*paths: str | None) -> ModuleType | None:
    """Refuse paths that can't be written; return the module of pictures if the last path asks for one."""
    for path in paths:
        if path is not None:
            check_destination(path)
    return None if paths[-1] is None else importlib.import_module("fastml.plotting")


def format_matrix(matrix: NDArray[np.int64]) -> str:
    """Return a square matrix of counts as lines of text, with the numbers of the classes above and at the left."""
    table = np.vstack([np.arange(len(matrix)), matrix])
    label, column = len(str(len(matrix) - 1)), len(str(table.max())) + 2
    lines = ["".join(f"{count:>{column}}" for count in row) for row in table]
    heads = ["", *range(len(matrix))]
    return "\n".join(f"{head:>{label}}{line}" for head, line in zip(heads, lines, strict=True))


@contextmanager
def progress_bar() -> Iterator[Progress | None]:
    """Yield the `progress` of a training run: a bar for each epoch, on stderr if it is a terminal and tqdm is there."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield None
        return
    bar = None

    def show(done: int, num_examples: int) -> None:
        nonlocal bar
        if bar is None:
            settings = {"delay": BAR_DELAY_SECONDS, "leave": False, "disable": None}
            bar = tqdm(total=num_examples, unit=" examples", unit_scale=True, **settings)
        bar.update(done - bar.n)
        if done == num_examples:
            bar.close()
            bar = None

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


class CompileNotice(event.Listener):
    """Says on stderr that kernels are compiled, at the first of them; kernels that come from the cache say nothing."""

    said = False

    def on_start(self, compilation):
        """Say it, once."""
        if not self.said:
            self.said = True
            print("fastml: compiling the kernels, some seconds ...", file=sys.stderr, flush=True)

    def on_end(self, compilation):
        """Say nothing."""
