"""A log for programs to read: a line of JSON an epoch."""

import json
import os
from pathlib import Path

from fastml.history import History


class Log:
    """Appends the rows of a history to a file as JSON Lines: a callback of training.

    Parameters
    ----------
    path : str or os.PathLike
        The file; there may be earlier lines in it.
    resume : bool
        Whether its last line is of the run that is now resumed, which then goes on with the epoch after it.

    Raises
    ------
    ValueError
        If it is and the line tells no epoch.
    """

    def __init__(self, path: str | os.PathLike, resume: bool):
        self.path = Path(path)
        self.logged = logged_epochs(self.path) if resume and self.path.exists() else 0

    def __call__(self, history: History) -> None:
        """Append what is not there yet, all of it or nothing."""
        rest = "".join(json.dumps(row._asdict()) + "\n" for row in history.rows[self.logged :]).encode()
        with open(self.path, "ab", buffering=0) as file:
            whole = file.seek(0, os.SEEK_END)
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError as error:  # a full disk takes a part
                file.truncate(whole)
                error.filename = os.fspath(self.path)
                raise
        self.logged = len(history)


def logged_epochs(path: Path) -> int:
    """Return the number of epochs up to the one that the last line of a log tells of."""
    lines = path.read_bytes().splitlines(keepends=True)
    if not lines:
        return 0
    try:
        if not lines[-1].endswith(b"\n"):
            raise ValueError("it is not whole")
        return int(json.loads(lines[-1])["epoch"]) + 1
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"the last line of {path} is of no epoch, so the log cannot go on there: {error}") from error
