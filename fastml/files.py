"""Safe writing of files: replacement of whole files, checks of a destination, and locks between processes."""

import errno
import glob
import os
import secrets
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]  # mypy allows one type for a name

DISK_FULL = errno.ENOSPC, errno.EDQUOT, errno.EFBIG

# Called as progress(done, total), in bytes of a file or of its source, or in examples.
Progress = Callable[[int, int], object]


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BufferedWriter]:
    """Open a new file for writing; it replaces `path` when the block ends without an error.

    The file is written under a temporary name in the same directory, flushed to the disk and renamed, so `path` holds
    either its old content or the complete new content. After an error the temporary file is removed.

    Parameters
    ----------
    path : str or os.PathLike
        The file to write; `check_destination` says which paths are accepted.

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
    # Not tempfile: only the owner can read its files, and a renamed file keeps its permissions.
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
            error.filename = os.fspath(path)  # an OSError from `write` has no file name
        raise


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove the temporary files of `path` that killed processes left; no process may be writing `path` now.

    Parameters
    ----------
    path : str or os.PathLike
        The path that was given to `replacing`.

    Raises
    ------
    OSError
        If a file cannot be removed.
    """
    path = Path(path)
    for temporary in path.parent.glob(f"{glob.escape(path.name)}.{'[0-9a-f]' * 16}.tmp"):
        temporary.unlink(missing_ok=True)


def check_destination(path: str | os.PathLike[str]) -> None:
    """Reject a path that cannot be written, before the work that makes its content.

    Parameters
    ----------
    path : str or os.PathLike
        A regular file, or a path without a file, in an existing writable directory.

    Raises
    ------
    OSError
        If `path` cannot be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: there is no directory {path.parent}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} cannot be written: it is a directory")
    # Renaming a file to a device such as /dev/null would replace the device.
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{path} cannot be written: it is not a regular file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{path} cannot be written: no permission to write to the directory {path.parent}")


@contextmanager
def open_zip(file: BinaryIO, most: int) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive for reading; reject a directory of more than `most` bytes before it is read.

    A directory of a million entries, 50 MB, would take hundreds of megabytes of memory.

    Parameters
    ----------
    file : binary file
        The archive.
    most : int
        The largest size of its directory; an entry has 46 bytes and its name.

    Raises
    ------
    ValueError
        If the directory is larger.
    zipfile.BadZipFile
        If the file is no archive.
    """
    limited = _LimitedReads(file, most)
    with zipfile.ZipFile(limited) as archive:
        limited.most = sys.maxsize
        yield archive


class _LimitedReads:
    """A file that rejects a read of more than `most` bytes; `zipfile` reads a directory at once."""

    def __init__(self, file: BinaryIO, most: int):
        self.file, self.most = file, most
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        """Read a number of bytes, or all that is left."""
        if size > self.most:
            raise ValueError(f"its directory has {size} bytes, at most {self.most} are accepted")
        return self.file.read(size)


def lock(descriptor: int, path: str | os.PathLike[str]) -> None:
    """Lock an open file or directory against other processes until it is closed.

    On systems without `fcntl`, such as Windows, nothing is locked.

    Parameters
    ----------
    descriptor : int
        The descriptor of the open file or directory.
    path : str or os.PathLike
        Its name, for the error message.

    Raises
    ------
    BlockingIOError
        If another descriptor, of any process, holds the lock.
    """
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(error.errno, "another process is writing there", os.fspath(path)) from error


@contextmanager
def locked_directory(directory: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the `lock` of a directory while the block runs.

    Parameters
    ----------
    directory : str or os.PathLike
        An existing directory.

    Raises
    ------
    OSError
        If the directory cannot be opened; BlockingIOError if it is locked already.
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
    """Flush the entries of a directory to the disk, if it can be opened, so that a crash cannot undo a rename."""
    if os.name != "posix" or not os.access(directory, os.R_OK):
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
