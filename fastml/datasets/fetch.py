"""Fetch a published set over HTTPS and put it under MNIST's four file names.

pooch finds the cache directory, knows a file that is there already by its digest, downloads to a temporary name, and
renames what has the right digest. Added to that: a limit to the size while data arrive, HTTPS alone, also after a
redirect, and the next address when one fails.
"""

import gzip
import math
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fastml.files import Progress, check_destination, replacing

from .idx import DAMAGED_STREAM_ERRORS, IdxError, idx_header
from .sources import SETS, Download, Source

try:
    import pooch
    import requests
    import urllib3
except ImportError as error:
    raise ImportError("fetching a set needs pooch: pip install 'fastml[fetch]'") from error

SCHEME = "https://"
# Without a byte for so long, a server is taken to be gone.
TIMEOUT_SECONDS = 30
CHUNK_BYTES = 2**16
# Bounds the memory of unpacking: EMNIST byclass has 547 MB of training images.
BLOCK_EXAMPLES = 10_000
# Says which set a directory holds: all of them come under the same names.
RECORD = "fetched-set.txt"


def fetch(name: str, directory: str | os.PathLike | None = None, *, progress: Progress | None = None) -> Path:
    """Fetch a set into a directory, as four plain IDX files that `load_mnist` reads.

    What arrives is kept only with the published SHA-256 digest, and stays in the cache directory of the user, so that
    it is downloaded once. A set that `directory` holds already is not touched. EMNIST's images, published with rows and
    columns exchanged, are put upright; of QMNIST's labels the class is taken, and its test set has all 60,000 examples.

    Parameters
    ----------
    name : str
        One of `fastml.datasets.sources.SETS`.
    directory : str or os.PathLike, optional
        Where to; made if it is not there. By default a directory of that name in the cache directory of the user.
    progress : callable, optional
        Called as ``progress(done, total)``, in bytes, while a file arrives.

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
        If a file with the right digest does not hold what it should.
    OSError
        If no address gave the right file, with what each of them said, or if a file cannot be written.

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


def place(name: str, directory: str | os.PathLike | None) -> Path:
    """Return the directory that a set is fetched into."""
    return cache() / name if directory is None else Path(directory)


def cache() -> Path:
    """Return the directory for what can be fetched again."""
    return Path(pooch.os_cache("fastml"))


def missing(name: str, directory: Path) -> dict[str, Source]:
    """Return the files of the set that are not in the directory; refuse a directory with other data."""
    files = SETS[name]
    there = {file for file in files if (directory / file).exists()}
    record = directory / RECORD
    if there and not (record.exists() and record.read_bytes() == name.encode()):
        raise FileExistsError(
            f"{directory} holds {min(there)}, which is not known to be of {name}: choose another directory"
        )
    return {file: source for file, source in files.items() if file not in there}


def download(wish: Download, progress: Progress | None) -> Path:
    """Return the path of a download, which comes from the first address that gives the right bytes."""
    path = cache() / "downloads" / wish.name
    failures = []
    for url in wish.urls:
        try:
            digest = f"sha256:{wish.sha256}"
            pooch.retrieve(url, digest, path.name, path.parent, downloader=limited(wish.size, progress))
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            failures.append(f"{url}: {error}")
        else:
            return path
    raise OSError(f"{wish.name} could not be fetched from {'; nor from '.join(failures)}")


def limited(size: int, progress: Progress | None) -> Callable[[str, str, object], None]:
    """Return a downloader for pooch that stops beyond size bytes.

    Not pooch's own: it calls `requests.get`, which follows redirects to HTTP, and writes whatever comes.
    """

    def write(url: str, path: str, _pooch: object) -> None:
        done = 0
        with (
            session() as http,
            http.get(url, stream=True, timeout=TIMEOUT_SECONDS) as response,
            open(path, "wb") as file,
        ):
            response.raise_for_status()
            # As the file lies on the server: some say of a .gz that it is a page to be inflated.
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
    """Return a session that knows no scheme but HTTPS, so that a redirect cannot lead to another."""
    http = requests.Session()
    https = http.get_adapter(SCHEME)
    http.adapters.clear()
    http.mount(SCHEME, https)
    # Nor is it to be deflated on the way.
    http.headers["Accept-Encoding"] = "identity"
    return http


def unpack(archive: Path, source: Source, path: Path) -> None:
    """Write the elements of a download to an IDX file, a block of examples at a time, as uint8, images upright."""
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
                elif source.transposed:
                    block = np.ascontiguousarray(block.transpose(0, 2, 1))
                file.write(block)
            check(stream.read(1), b"", archive)
    except (zipfile.BadZipFile, KeyError, *DAMAGED_STREAM_ERRORS) as error:
        raise IdxError(f"{archive}: found a damaged archive ({error}), need a whole one") from error


@contextmanager
def inflated(archive: Path, member: str | None) -> Iterator[BinaryIO]:
    """Open a gzip file, or a member of a zip archive that is one, as a stream; nothing is unpacked to a path."""
    with ExitStack() as stack:
        compressed = stack.enter_context(open(archive, "rb"))
        if member is not None:
            compressed = stack.enter_context(stack.enter_context(zipfile.ZipFile(compressed)).open(member))
        yield stack.enter_context(gzip.GzipFile(fileobj=compressed))


def check(found: bytes | int, needed: bytes | int, archive: Path) -> None:
    """Refuse what is not as published: a header, a number of bytes, or the end."""
    if found != needed:
        raise IdxError(f"{archive}: found {found!r}, need {needed!r} to be the set as published")
