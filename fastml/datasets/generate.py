"""Large MNIST: MNIST's four files with any number of training images, deformed from the 60,000 originals."""

import errno
import os
import shutil
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastml import checks
from fastml.files import Progress, locked_directory
from fastml.kernels.compile import forks
from fastml.threads import Call

from .deformation import deform
from .idx import idx_header, write_idx
from .mapped_idx import open_idx
from .mnist import IMAGES, LABELS, load_mnist

SIDE = 28
UINT8 = np.dtype(np.uint8)
LARGEST_COUNT = 2**32 - 1
# Images of a piece, 25.7 MB. One piece is made while the piece before it is written. The last PIECE images of a file
# tell which series it belongs to.
PIECE = 2**15


class Series:
    """The training images of large MNIST: the 60,000 originals, then image k as a deformation of original k % 60,000.

    A file of the series has a header and then the images, so the size of an incomplete file tells how many images the
    file holds.
    """

    def __init__(self, originals: NDArray[np.uint8], count: int, seed: int):
        self.originals, self.count, self.seed = originals, count, seed
        self.header = idx_header(UINT8, (count, SIDE, SIDE))
        self.size = self.place(count)

    def place(self, number: int) -> int:
        """Return the position in the file at which an image begins."""
        return len(self.header) + number * SIDE * SIDE

    def make(self, start: int, stop: int, out: NDArray[np.uint8]) -> None:
        """Write images start to stop to out."""
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


def generate_mnist(directory: str | os.PathLike, count: int, seed: int = 0, progress: Progress | None = None) -> None:
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
        Called as ``progress(done, count)`` after each piece of 32,768 images.

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
    count, seed = checks.check_integer("count", count, minimum=1), checks.check_seed(seed)
    if count > LARGEST_COUNT:
        raise ValueError(f"count must be at most {LARGEST_COUNT}, as IDX counts no further, got {count}")
    forks.check_not_compiling()
    (X, y), (X_test, y_test) = load_mnist(raw=True)
    series = Series(X.reshape(-1, SIDE, SIDE), count, seed)

    directory = Path(directory)
    path = directory / IMAGES[0]
    part = path.with_name(f"{path.name}.part")
    beside = {LABELS[0]: np.resize(y, count), IMAGES[1]: X_test.reshape(-1, SIDE, SIDE), LABELS[1]: y_test}
    if not path.exists():
        check_space(directory, part, series.size + sum(array.nbytes for array in beside.values()))
    directory.mkdir(exist_ok=True)
    with locked_directory(directory):
        whole = path.exists()
        if whole:
            refuse_unless(series.is_whole(path), path)
        missing = {name: array for name, array in beside.items() if not (directory / name).exists()}
        for name in beside.keys() - missing.keys():
            refuse_unless(np.array_equal(open_idx(directory / name), beside[name]), directory / name)
        if not whole:
            with open(part, "a+b", buffering=0) as file:
                complete(file, series, progress)
        for name, array in missing.items():
            write_idx(directory / name, array)
        # The file of images is renamed last, so that its name means that the set is complete. The file is closed
        # before, because some systems cannot rename open files.
        if not whole:
            os.replace(part, path)


def refuse_unless(same: bool, path: Path) -> None:
    """Reject an existing file that does not hold the same data as would be written."""
    if not same:
        raise FileExistsError(f"{path} is there and holds something else; move it away, or choose another directory")


def check_space(directory: Path, part: Path, size: int) -> None:
    """Reject a number of bytes that is too large for the disk; the size of an existing part counts as free space."""
    free = shutil.disk_usage(directory if directory.is_dir() else directory.parent).free
    if part.exists():
        free += part.stat().st_size
    if size > free:
        message = f"{size / 1e9:,.2f} GB are needed, {free / 1e9:,.2f} GB are free"
        raise OSError(errno.ENOSPC, message, os.fspath(directory))


def complete(file: FileIO, series: Series, progress: Progress | None) -> None:
    """Append the missing images of the series to a part; each piece is made while the piece before is written."""
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
                progress(start, series.count)
    finally:
        writing.result()
    if progress is not None:
        progress(series.count, series.count)


def append(file: FileIO, data: bytes | NDArray[np.uint8]) -> None:
    """Append bytes to a file and flush them to the disk, so that later bytes never reach the disk before them."""
    rest = memoryview(data).cast("B")
    try:
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    except OSError as error:
        error.filename = file.name
        raise
