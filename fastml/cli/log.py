"""A machine-readable log with one line of JSON for each epoch."""

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from fastml.checkpoints import fingerprint
from fastml.datasets.image_set import ImageSet
from fastml.history import History


class Log:
    """A callback of training that appends the rows of a history to a file as JSON Lines.

    Parameters
    ----------
    path : str or os.PathLike
        The log file; it may already contain lines, also of other runs.
    resume : bool
        Whether the run is resumed. The log then continues after the last epoch that it has of this run.
    run : str
        The digest of this run, from `run_digest`. Each line contains the digest as ``run``.

    Raises
    ------
    ValueError
        If resume is true and a line has no epoch.
    """

    def __init__(self, path: str | os.PathLike[str], resume: bool, run: str):
        self.path, self.run, self.logged = Path(path), run, 0
        if resume and self.path.exists():
            runs = logged_epochs(self.path)
            self.logged = runs.get(run, 0)
            if runs and run not in runs:
                print(f"fastml: {path} holds another run; all epochs of this run will follow", file=sys.stderr)

    def __call__(self, history: History) -> None:
        """Append the rows that are not in the log yet: all of them, or none if an error occurs."""
        rows = [{"run": self.run, **row._asdict()} for row in history.rows[self.logged :]]
        rest = "".join(json.dumps(row) + "\n" for row in rows).encode()
        with open(self.path, "ab", buffering=0) as file:
            whole = file.seek(0, os.SEEK_END)
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError as error:  # a full disk may accept only a part
                file.truncate(whole)
                error.filename = os.fspath(self.path)
                raise
        self.logged = len(history)


def logged_epochs(path: Path) -> dict[str | None, int]:
    """Return the number of logged epochs of each run, according to its last line in a log."""
    runs = {}
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        try:
            if not line.endswith(b"\n"):
                raise ValueError("the line is incomplete")
            row = json.loads(line)
            runs[row.get("run")] = int(row["epoch"]) + 1
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"line {number} of {path} is not the result of an epoch, so the log cannot be continued: {error}"
            ) from error
    return runs


def run_digest(settings: dict[str, Any], *sets: ImageSet) -> str:
    """Return a digest of the settings and the sets of a run; runs with the same digest have the same result."""
    described = json.dumps([settings, *(fingerprint(data.X, data.y) for data in sets)], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def log_of(arguments: argparse.Namespace, settings: dict[str, Any], *sets: ImageSet) -> Log | None:
    """Return the log of a run, or None."""
    if arguments.log is None:
        return None
    # A run with a constant schedule may be resumed for more epochs, so its digest must not depend on their number.
    epochs = None if arguments.schedule == "constant" else arguments.epochs
    return Log(arguments.log, arguments.resume, run_digest(settings | {"epochs": epochs}, *sets))
