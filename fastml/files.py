"""Writing files: all of a file, or what was there before; and by one process at a time."""

import errno
import glob
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

DISK_FULL = errno.ENOSPC, errno.EDQUOT, errno.EFBIG

# Called with what is done of a file, or of its source, and the whole of it; in bytes or in examples.
Progress = Callable[[int, int], object]


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BufferedWriter]:
    """Open a file for writing that takes the place of `path` when the block ends without an error.

    The file is written under a temporary name in the same directory, flushed to the disk and renamed, so `path` holds
    either what it held before or the whole new file. After an error nothing is left of the new one.

    Parameters
    ----------
    path : str or os.PathLike
        What to write; see `check_destination`.

    Yields
    ------
    BufferedWriter
        The new file, open in binary mode and seekable.

    Raises
    ------
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory, "greeting")
    ...     with replacing(path) as file:
    ...         _ = file.write(b"good morning")
    ...     path.read_bytes()
    b'good morning'
    """
    path = Path(path)
    check_destination(path)
    # Not tempfile: its files are readable by their owner alone, and the renamed file would stay so.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_directory(path.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            error.filename = os.fspath(path)  # `write` doesn't know it
        raise


def remove_leftovers(path: str | os.PathLike) -> None:
    """Remove what `replacing` left beside `path` in processes that were killed; none may be writing it now.

    Parameters
    ----------
    path : str or os.PathLike
        What was to be written.

    Raises
    ------
    OSError
        If a file cannot be removed.
    """
    path = Path(path)
    for temporary in path.parent.glob(f"{glob.escape(path.name)}.{'[0-9a-f]' * 16}.tmp"):
        temporary.unlink(missing_ok=True)


def check_destination(path: str | os.PathLike) -> None:
    """Refuse a path that no file can be written to, before the work whose result is to go there.

    Parameters
    ----------
    path : str or os.PathLike
        A path in a directory that exists and can be written; a regular file, or nothing yet.

    Raises
    ------
    OSError
        If `path` is not as above.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: there is no directory {path.parent}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} cannot be written: it is a directory")
    # A device such as /dev/null would itself be replaced.
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{path} cannot be written: it is not a regular file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{path} cannot be written: no permission to write to the directory {path.parent}")


def lock(descriptor: int, path: str | os.PathLike) -> None:
    """Keep other processes from locking an open file or directory until it is closed, where the system has such locks.

    Parameters
    ----------
    descriptor : int
        Of the open file.
    path : str or os.PathLike
        Its name, for the error.

    Raises
    ------
    BlockingIOError
        If another process, or another part of this one, holds the lock.
    """
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(error.errno, "another process is writing there", os.fspath(path)) from error


@contextmanager
def locked_directory(directory: str | os.PathLike) -> Iterator[None]:
    """Hold the `lock` of a directory.

    Parameters
    ----------
    directory : str or os.PathLike
        It must exist.

    Raises
    ------
    OSError
        If it cannot be opened; BlockingIOError if it is locked already.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        lock(descriptor, directory)
        yield
    finally:
        os.close(descriptor)


def _sync_directory(directory: Path) -> None:
    """Flush the names in a directory to the disk, where the system lets us open it: a rename may be lost else."""
    if os.name != "posix" or not os.access(directory, os.R_OK):
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
