"""A machine-readable log with one line of JSON for each epoch."""

import json
import os
from pathlib import Path

from fastml.history import History


class Log:
    """A callback of training that appends the rows of a history to a file as JSON Lines.

    Parameters
    ----------
    path : str or os.PathLike
        The log file; it may already contain lines.
    resume : bool
        Whether the last line of the file belongs to the run that is now resumed. The log then continues with the next
        epoch.

    Raises
    ------
    ValueError
        If resume is true and the last line has no epoch.
    """

    def __init__(self, path: str | os.PathLike, resume: bool):
        self.path = Path(path)
        self.logged = logged_epochs(self.path) if resume and self.path.exists() else 0

    def __call__(self, history: History) -> None:
        """Append the rows that are not in the log yet: all of them, or none if an error occurs."""
        rest = "".join(json.dumps(row._asdict()) + "\n" for row in history.rows[self.logged :]).encode()
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


def logged_epochs(path: Path) -> int:
    """Return the number of logged epochs, according to the last line of a log."""
    lines = path.read_bytes().splitlines(keepends=True)
    if not lines:
        return 0
    try:
        if not lines[-1].endswith(b"\n"):
            raise ValueError("it is not whole")
        return int(json.loads(lines[-1])["epoch"]) + 1
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"the last line of {path} is of no epoch, so the log cannot go on there: {error}") from error
