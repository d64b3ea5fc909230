"""Large MNIST: MNIST's four files with any number of training images, deformed from the 60,000 originals."""

import errno
import itertools
import os
import shutil
from collections.abc import Iterable
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastml import scalars
from fastml.files import Progress, locked_directory
from fastml.kernels.compile import forks
from fastml.threads import Call

from .deformation import deform
from .idx import idx_header, write_idx
from .mapped_idx import open_idx
from .mnist import IMAGES, LABELS, load_mnist

SIDE = 28
UINT8 = np.dtype(np.uint8)
LARGEST_COUNT, LARGEST_SHARDS = 2**32 - 1, 99_999
# Images of a piece, 25.7 MB. One piece is made while the piece before it is written. The last PIECE images of a file
# show which series the file belongs to.
PIECE = 2**15


class Series:
    """The training images of large MNIST: the 60,000 originals, then image k as a deformation of original k % 60,000.

    A file holds the images of a range of numbers, behind a header, so the size of an incomplete file shows how many
    images the file holds.
    """

    def __init__(self, originals: NDArray[np.uint8], numbers: range, seed: int):
        self.originals, self.seed = originals, seed
        self.first, self.count = numbers.start, len(numbers)
        self.header = idx_header(UINT8, (self.count, SIDE, SIDE))
        self.size = self.place(self.count)

    def place(self, position: int) -> int:
        """Return the byte of the file at which the image at a position in the range begins."""
        return len(self.header) + position * SIDE * SIDE

    def make(self, start: int, stop: int, out: NDArray[np.uint8]) -> None:
        """Write the images from position start to stop of the range to out."""
        start, stop = self.first + start, self.first + stop
        kept = min(max(len(self.originals) - start, 0), stop - start)
        out[:kept] = self.originals[start : start + kept]
        deform(self.originals, np.arange(start + kept, stop), self.seed, out[kept:])

    def is_whole(self, path: Path) -> bool:
        """Return whether a file holds all images of this series."""
        with open(path, "rb", buffering=0) as file:
            return os.fstat(file.fileno()).st_size == self.size and self.count_made(file) == self.count

    def count_made(self, file: FileIO) -> int:
        """Return how many images a file holds; 0 if its header or its last images are those of another series."""
        made = min((file.seek(0, os.SEEK_END) - len(self.header)) // (SIDE * SIDE), self.count)
        file.seek(0)
        if made <= 0 or file.read(len(self.header)) != self.header:
            return 0
        start = max(0, made - PIECE)
        last = np.empty((made - start, SIDE, SIDE), np.uint8)
        self.make(start, made, last)
        file.seek(self.place(start))
        return made if file.read(last.nbytes) == last.tobytes() else 0


def generate_mnist(
    directory: str | os.PathLike[str],
    count: int,
    seed: int = 0,
    progress: Progress | None = None,
    shards: int | None = None,
) -> None:
    """Write MNIST's four files with any number of training images: the 60,000 originals, then deformations.

    Image number k is original k for k < 60,000, else original k % 60,000 as `deform` deforms it; the test set is
    MNIST's own. `load_mnist` reads the files, `open_idx` maps them.

    After an interrupt, the same call continues the work: until the last image is on the disk, the name of the file of
    training images ends in ``.part``. A ``.part`` file of another count or seed is overwritten. Existing files are kept
    if they hold the data that would be written; of the training images only the last 32,768 are compared. Existing
    files with other data are rejected.

    Parameters
    ----------
    directory : str or os.PathLike
        The directory to write to; created if it is missing. Its parent must exist.
    count : int
        Training images, from 1 to 2**32 - 1, 784 bytes each: 8,100,000 of them take 6.4 GB.
    seed : int
        In [0, 2**64).
    progress : callable, optional
        Called as ``progress(done, count)`` after each piece of at most 32,768 images.
    shards : int, optional
        Cut the training set into this many files of images and of labels, for `fastml.dask.shards_of`. Their names end
        in ``-00000-of-00004`` for the first of four. One after the other they hold the images of the single file.

    Raises
    ------
    TypeError, ValueError
        If count or seed is invalid.
    FileExistsError
        If one of the files exists and holds other data.
    BlockingIOError
        If another process is writing to the directory.
    OSError
        If the disk has not enough space, or the files cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from fastml.datasets import generate_mnist, load_mnist
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     generate_mnist(directory, count=60_100)
    ...     (X, y), _ = load_mnist(directory, raw=True)
    >>> X.shape, int(y[7]), int(y[60_007])
    ((60100, 784), 3, 3)
    """
    count, seed = scalars.check_integer("count", count, minimum=1), scalars.check_seed(seed)
    if count > LARGEST_COUNT:
        raise ValueError(f"count must be at most {LARGEST_COUNT}, the largest dimension of IDX, got {count}")
    files = files_of(count, shards)
    forks.check_not_compiling()
    (X, y), (X_test, y_test) = load_mnist(raw=True)
    originals, labels = X.reshape(-1, SIDE, SIDE), np.resize(y, count)

    directory = Path(directory)
    images = {directory / pair[0]: Series(originals, numbers, seed) for pair, numbers in files.items()}
    beside = {directory / pair[1]: labels[numbers.start : numbers.stop] for pair, numbers in files.items()}
    beside |= {directory / IMAGES[1]: X_test.reshape(-1, SIDE, SIDE), directory / LABELS[1]: y_test}
    unmade = [path for path in images if not path.exists()]
    if unmade:
        size = sum(images[path].size for path in unmade) + sum(array.nbytes for array in beside.values())
        check_space(directory, map(part_of, unmade), size)
    directory.mkdir(exist_ok=True)
    with locked_directory(directory):
        unmade = [path for path in images if not path.exists()]
        for path in images.keys() - set(unmade):
            refuse_unless(images[path].is_whole(path), path)
        missing = {path: array for path, array in beside.items() if not path.exists()}
        for path in beside.keys() - missing.keys():
            refuse_unless(np.array_equal(open_idx(path), beside[path]), path)
        for path in unmade:
            with open(part_of(path), "a+b", buffering=0) as file:
                complete(file, images[path], count, progress)
        for path, array in missing.items():
            write_idx(path, array)
        # The files of images are renamed last, so that their names mean that the set is complete. They are closed
        # before, because some systems cannot rename open files.
        for path in unmade:
            os.replace(part_of(path), path)


def files_of(count: int, shards: int | None) -> dict[tuple[str, str], range]:
    """Return the names of the files of images and labels, with the numbers of the images in each pair."""
    if shards is None:
        return {(IMAGES[0], LABELS[0]): range(count)}
    shards = scalars.check_integer("shards", shards, minimum=1)
    if shards > min(count, LARGEST_SHARDS):
        raise ValueError(f"shards must be at most {min(count, LARGEST_SHARDS)}, got {shards}")
    cuts = [number * count // shards for number in range(shards + 1)]
    pairs = [(shard_name(IMAGES[0], i, shards), shard_name(LABELS[0], i, shards)) for i in range(shards)]
    return {pair: range(start, stop) for pair, (start, stop) in zip(pairs, itertools.pairwise(cuts), strict=True)}


def shard_name(name: str, number: int, shards: int) -> str:
    """Return the name of the file of a shard; `name` is that of the file of the whole set."""
    return f"{name}-{number:05}-of-{shards:05}"


def shard_names(directory: Path) -> list[tuple[str, str]]:
    """Return the names of the files of images and labels of each shard in a directory; none without shards.

    Raises
    ------
    ValueError
        If there are files of several numbers of shards.
    FileNotFoundError
        If one of the files is missing.
    """
    found = sorted(path.name for path in directory.glob(f"{IMAGES[0]}-[0-9]*-of-[0-9]*[0-9]"))
    if not found:
        return []
    totals = {name.rpartition("-")[2] for name in found}
    if len(totals) > 1:
        raise ValueError(f"{directory} holds several sets, of {' and '.join(sorted(totals))} shards")
    shards = int(found[0].rpartition("-")[2])
    pairs = [(shard_name(IMAGES[0], i, shards), shard_name(LABELS[0], i, shards)) for i in range(shards)]
    missing = [name for pair in pairs for name in pair if not (directory / name).exists()]
    if missing:
        raise FileNotFoundError(f"{directory} holds {found[0]}, but not {missing[0]}")
    return pairs


def part_of(path: Path) -> Path:
    """Return the name of an incomplete file."""
    return path.with_name(f"{path.name}.part")


def refuse_unless(same: bool, path: Path) -> None:
    """Reject an existing file that does not hold the data that would be written."""
    if not same:
        raise FileExistsError(f"{path} exists and holds other data; move it away, or choose another directory")


def check_space(directory: Path, parts: Iterable[Path], size: int) -> None:
    """Reject a number of bytes that is too large for the disk; the sizes of existing parts count as free space."""
    free = shutil.disk_usage(directory if directory.is_dir() else directory.parent).free
    free += sum(part.stat().st_size for part in parts if part.exists())
    if size > free:
        message = f"{size / 1e9:,.2f} GB are needed, {free / 1e9:,.2f} GB are free"
        raise OSError(errno.ENOSPC, message, os.fspath(directory))


def complete(file: FileIO, series: Series, count: int, progress: Progress | None) -> None:
    """Append the missing images of the series to a part; each piece is made while the piece before is written.

    `progress` is called with the number of images made so far, of count in all parts.
    """
    pieces = np.empty((2, PIECE, SIDE, SIDE), np.uint8)
    made = series.count_made(file)
    file.truncate(series.place(made) if made else 0)
    writing = Call(append, file, b"" if made else series.header).start()
    try:
        for number, start in enumerate(range(made, series.count, PIECE)):
            stop = min(start + PIECE, series.count)
            piece = pieces[number % 2, : stop - start]
            series.make(start, stop, piece)
            writing.result()
            writing = Call(append, file, piece).start()
            if progress is not None:
                progress(series.first + start, count)
    finally:
        writing.result()
    if progress is not None:
        progress(series.first + series.count, count)


def append(file: FileIO, data: bytes | NDArray[np.uint8]) -> None:
    """Append bytes to a file and flush them to the disk, so that later bytes never reach the disk before them."""
    rest = memoryview(data if isinstance(data, bytes) else data.data).cast("B")
    try:
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    except OSError as error:
        error.filename = file.name
        raise
