"""Fetch a published set over HTTPS and store it under MNIST's four file names.

pooch finds the cache directory, recognises a downloaded file by its digest, downloads to a temporary name, and renames
a file with the right digest. This module adds a limit on the size during a download, allows only HTTPS, also after a
redirect, and tries the next address when one fails.
"""

import gzip
import math
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import numpy as np

from fastml.files import Progress, check_destination, replacing

from .idx import DAMAGED_STREAM_ERRORS, IdxError, idx_header
from .places import RECORD
from .sources import SETS, Download, Source

try:
    import pooch as pooch  # `fastml fetch` turns its log off
    import requests
    import urllib3
except ImportError as error:
    raise ImportError("fetching a set needs pooch: pip install 'fastml[fetch]'") from error

SCHEME = "https://"
# A download fails if the server sends no byte for this long.
TIMEOUT_SECONDS = 30
CHUNK_BYTES = 2**16
# Bounds the memory of unpacking: EMNIST byclass has 547 MB of training images.
BLOCK_EXAMPLES = 10_000


def fetch(name: str, directory: str | os.PathLike[str] | None = None, *, progress: Progress | None = None) -> Path:
    """Fetch a set into a directory, as four plain IDX files that `load_mnist` reads.

    A download is kept only if it has the published SHA-256 digest. The download stays in the user's cache directory, so
    each file is downloaded only once. A set that `directory` holds already is not changed. EMNIST's images, published
    with rows and columns exchanged, are transposed, and its letters count from 0. Of QMNIST's labels only the class is
    kept; QMNIST's test set has all 60,000 examples.

    Parameters
    ----------
    name : str
        One of `fastml.datasets.sources.SETS`.
    directory : str or os.PathLike, optional
        The directory to write to; created if it is missing. By default a directory with the name of the set, in the
        user's cache directory.
    progress : callable, optional
        Called as ``progress(done, total)``, in bytes, while a file is downloaded.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    ValueError
        If there is no set of that name.
    FileExistsError
        If `directory` holds data under MNIST's names that are not known to be this set.
    IdxError
        If a file with the right digest has unexpected content.
    OSError
        If no address provides the right file; the message has the error of each address. If a file cannot be written.

    Examples
    --------
    >>> fetch("mnits")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: there is no set mnits, only mnist, fashion-mnist, ...
    """
    if name not in SETS:
        raise ValueError(f"there is no set {name}, only {', '.join(SETS)}")
    directory = place(name, directory)
    wanted = missing(name, directory)
    if not wanted:
        return directory
    directory.mkdir(parents=True, exist_ok=True)
    check_destination(directory / RECORD)
    # EMNIST's four files come from one download.
    archives = {wish: download(wish, progress) for wish in {source.download: None for source in wanted.values()}}
    with replacing(directory / RECORD) as record:
        record.write(name.encode())
    for file, source in wanted.items():
        unpack(archives[source.download], source, directory / file)
    return directory


def place(name: str, directory: str | os.PathLike[str] | None) -> Path:
    """Return the directory that a set is fetched into."""
    return cache() / name if directory is None else Path(directory)


def cache() -> Path:
    """Return the user's cache directory, for downloads and sets."""
    return Path(pooch.os_cache("fastml"))


def missing(name: str, directory: Path) -> dict[str, Source]:
    """Return the files of the set that are not in the directory; reject a directory with other data."""
    files = SETS[name]
    there = {file for file in files if (directory / file).exists()}
    record = directory / RECORD
    if there and not (record.exists() and record.read_bytes() == name.encode()):
        raise FileExistsError(
            f"{directory} holds {min(there)}, which is not known to be of {name}: choose another directory"
        )
    return {file: source for file, source in files.items() if file not in there}


def download(wish: Download, progress: Progress | None) -> Path:
    """Return the path of a download; try its addresses until one provides the right file."""
    path = cache() / "downloads" / wish.name
    failures, unreachable = [], []
    for url in wish.urls:
        try:
            digest = f"sha256:{wish.sha256}"
            pooch.retrieve(url, digest, path.name, path.parent, downloader=limited(wish.size, progress))
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            failures.append(f"{url}: {error}")
            if isinstance(error, requests.ConnectionError):
                unreachable.append(f"{urlsplit(url).hostname} ({first_cause(error)})")
        else:
            return path
    if len(unreachable) == len(wish.urls):
        raise OSError(f"{wish.name} could not be fetched: no connection to {', nor to '.join(unreachable)}")
    raise OSError(f"{wish.name} could not be fetched from {'; nor from '.join(failures)}")


def first_cause(error: BaseException) -> str:
    """Return the message of the system error that caused an error."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return getattr(error, "strerror", None) or str(error)


def limited(size: int, progress: Progress | None) -> Callable[[str, str, object], None]:
    """Return a downloader for pooch that stops beyond size bytes.

    pooch's own downloader follows redirects to HTTP and has no limit on the size.
    """

    def write(url: str, path: str, _pooch: object) -> None:
        done = 0
        with (
            session() as http,
            http.get(url, stream=True, timeout=TIMEOUT_SECONDS) as response,
            open(path, "wb") as file,
        ):
            response.raise_for_status()
            # The bytes are not decoded: some servers declare a .gz file as a page with gzip encoding.
            for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
                done += len(chunk)
                if done > size:
                    raise OSError(f"found more than {size} bytes, the published size")
                file.write(chunk)
                if progress is not None:
                    progress(done, size)
        if progress is not None:
            progress(done, done)

    return write


def session() -> requests.Session:
    """Return a session that supports only HTTPS, so that a redirect to another scheme fails."""
    http = requests.Session()
    https = http.get_adapter(SCHEME)
    http.adapters.clear()
    http.mount(SCHEME, https)
    # Ask the server not to compress the transfer.
    http.headers["Accept-Encoding"] = "identity"
    return http


def unpack(archive: Path, source: Source, path: Path) -> None:
    """Write the elements of a download to an IDX file as uint8, a block of examples at a time, with upright images."""
    count, *shape = source.shape
    dtype = np.dtype(">i4" if len(shape) == 1 else "u1")
    example_bytes = math.prod(shape) * dtype.itemsize
    try:
        with inflated(archive, source.member) as stream, replacing(path) as file:
            header = idx_header(dtype, source.shape)
            check(stream.read(len(header)), header, archive)
            file.write(idx_header(np.dtype("u1"), source.shape if len(shape) == 2 else (count,)))
            for begin in range(0, count, BLOCK_EXAMPLES):
                size = min(BLOCK_EXAMPLES, count - begin) * example_bytes
                data = stream.read(size)
                check(len(data), size, archive)
                block = np.frombuffer(data, dtype).reshape(-1, *shape)
                if len(shape) == 1:
                    block = block[:, 0].astype(np.uint8)
                elif not shape:
                    block = block - np.uint8(source.first_label)
                elif source.transposed:
                    block = np.ascontiguousarray(block.transpose(0, 2, 1))
                file.write(block.data)
            check(stream.read(1), b"", archive)
    except (zipfile.BadZipFile, KeyError, *DAMAGED_STREAM_ERRORS) as error:
        raise IdxError(f"{archive}: found a damaged archive ({error}), need a whole one") from error


@contextmanager
def inflated(archive: Path, member: str | None) -> Iterator[gzip.GzipFile]:
    """Open a gzip file, or a gzip member of a zip archive, as a decompressed stream, without writing a file."""
    with ExitStack() as stack:
        compressed: IO[bytes] = stack.enter_context(open(archive, "rb"))
        if member is not None:
            compressed = stack.enter_context(stack.enter_context(zipfile.ZipFile(compressed)).open(member))
        yield stack.enter_context(gzip.GzipFile(fileobj=compressed))


def check(found: bytes | int, needed: bytes | int, archive: Path) -> None:
    """Reject a header, a number of bytes or an end of data that differs from the published one."""
    if found != needed:
        raise IdxError(f"{archive}: found {found!r}, need {needed!r} to be the set as published")
