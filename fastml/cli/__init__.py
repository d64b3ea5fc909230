"""The command `fastml`: train and evaluate models on MNIST or similar data, get such data, describe the machine.

Each command is a module: its function `add` describes the command to argparse, and its function `run` executes it.
"""

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

import fastml
from fastml import compile_notice
from fastml.cli import completion, convert, evaluate, fetch, generate, info, predict, train
from fastml.cli.arguments import CommandParser
from fastml.cli.signals import Stopped

COMMANDS = (train, evaluate, predict, fetch, convert, generate, info, completion)
# If a signal ends a process, shells report this number plus the number of the signal as the exit status.
SIGNALLED = 128


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default those of the process.

    Returns
    -------
    int
        The exit status: 0 after success, or if the reader of the output has closed its pipe; 1 if the loss is not
        finite; 2 if an argument, a file or the environment is invalid; 130 after an interrupt, 143 after SIGTERM.

    Raises
    ------
    SystemExit
        Raised by argparse, with status 2 for invalid arguments, 0 after ``--help`` and ``--version``.
    """
    parser = make_parser()
    arguments = parser.parse_args(argv)
    # If argparse required a command, it would report the missing command and not a misspelt option.
    if arguments.run is None:
        parser.error("the following arguments are required: COMMAND")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            compile_notice.notice.said |= getattr(arguments, "quiet", False)
            arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes stdout again at exit. Stdout becomes the null device, so that this flush does not fail as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except FloatingPointError as error:
        return fail(error, 1)
    except (ValueError, TypeError, OSError, ImportError, MemoryError, RuntimeError) as error:
        return fail(error, 2)
    except Stopped as stopped:
        print("fastml:", stopped, file=sys.stderr)
        return SIGNALLED + stopped.signum
    except KeyboardInterrupt:
        print("fastml: interrupted", file=sys.stderr)
        return SIGNALLED + signal.SIGINT
    return 0


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning as one line, without its place in the code."""
    print("fastml: warning:", message, file=sys.stderr)


def fail(error: Exception, status: int) -> int:
    """Print an error as one line and return the exit status."""
    print("fastml: error:", " ".join(str(error).split()) or type(error).__name__, file=sys.stderr)
    return status


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; its results have the function of the chosen command as `run`."""
    parser = CommandParser(prog="fastml", description="Train and evaluate models on MNIST or data like it.")
    parser.add_argument("--version", action="version", version=f"fastml {fastml.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    parser.set_defaults(run=None)
    for command in COMMANDS:
        command.add(commands).set_defaults(run=command.run)
    return parser
