"""Shards: parts of a training set that workers open themselves, so that the scheduler never transfers examples.

A shard is the paths of two or three files (X, y and, if there are any, the weights of the examples), the same number of
`FileRows`, or a function without arguments that returns the arrays.
"""

import itertools
import mmap
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastml import checks, scalars
from fastml.arrays import describe
from fastml.datasets import open_idx
from fastml.datasets.generate import shard_names
from fastml.datasets.places import IMAGE_FILE, LABEL_FILE, TRAIN, find_place
from fastml.mapping import mapping_of
from fastml.settings import LabelledSet


class FileRows(NamedTuple):
    """Rows of an array that lies in a file, as `numpy.memmap` describes them."""

    path: str
    offset: int
    dtype: str
    shape: tuple[int, ...]

    def open(self) -> NDArray[Any]:
        """Map the rows into memory, read-only."""
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape)


Source = str | FileRows
Shard = tuple[Source, ...] | Callable[[], Sequence[NDArray[Any]]]
# A shard as an argument: its paths may be relative.
GivenShard = Sequence[str | os.PathLike[str] | FileRows] | Callable[[], Sequence[NDArray[Any]]]


def shards_of(
    data: str | os.PathLike[str] | Sequence[str | os.PathLike[str] | np.memmap[Any, Any]], count: int | None = None
) -> list[Shard]:
    """Cut a training set in files into shards: ranges of rows, of equal length but for one row, without a copy.

    Parameters
    ----------
    data : str, os.PathLike or sequence
        A directory with the files of `fastml generate --shards`, or with a training set under MNIST's names; or the
        paths, or the memory maps, of X and y and, if there are any, of the weights of the examples. A path is of an
        ``.npy`` file or an IDX file.
    count : int, optional
        The number of shards, at most one for each row. Not needed for the files of `fastml generate --shards`: each
        pair of files is a shard.

    Returns
    -------
    list
        The shards, for `fastml.dask.train_nn` and `fastml.dask.train_softmax`. They hold the paths of files and the
        places of rows in them, so workers must find the files under the same paths.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid; IdxError, a ValueError, if a file is.
    OSError
        If a file is missing or cannot be read.

    Notes
    -----
    A shard should be a fair sample of the examples. So shuffle the rows of a file that is sorted by label first.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from fastml.dask import shards_of
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     paths = [Path(directory, "X.npy"), Path(directory, "y.npy")]
    ...     np.save(paths[0], np.zeros((10, 4), np.uint8))
    ...     np.save(paths[1], np.arange(10) % 2)
    ...     shards = shards_of(paths, 3)
    >>> [X.shape for X, y in shards]
    [(3, 4), (3, 4), (4, 4)]
    """
    if count is not None:
        count = scalars.check_integer("count", count, minimum=1)
    if isinstance(data, str | os.PathLike):
        directory = Path(data).resolve()
        pairs = shard_names(directory)
        if pairs:
            if count not in (None, len(pairs)):
                raise ValueError(f"{directory} holds {len(pairs)} shards, and count is {count}")
            return [tuple(str(directory / name) for name in pair) for pair in pairs]
        place = find_place(directory)
        if place.name:
            raise ValueError(f"{directory} holds NIST's {place.name}: its images are not upright in the file")
        data = [str(place.needed(TRAIN, kind)) for kind in (IMAGE_FILE, LABEL_FILE)]
    if not isinstance(data, Sequence) or len(data) not in (2, 3):
        raise TypeError("data must be a directory, or the paths or maps of X, y and perhaps sample_weight")
    if count is None:
        raise TypeError("count is missing: the number of shards to cut the files into")
    maps = [each if isinstance(each, np.ndarray) else open_file(each) for each in data]
    rows = len(maps[0])
    if any(len(array) != rows for array in maps):
        raise ValueError(f"data must have the same number of rows, got {', '.join(str(len(array)) for array in maps)}")
    if count > rows:
        raise ValueError(f"count must be at most the number of rows, {rows}, got {count}")
    cuts = [number * rows // count for number in range(count + 1)]
    return [tuple(place_of(array[start:stop]) for array in maps) for start, stop in itertools.pairwise(cuts)]


def place_of(array: NDArray[Any]) -> FileRows:
    """Return where the rows of a mapped file lie in the file; reject an array that is not mapped."""
    mapping = mapping_of(array)
    if not isinstance(array, np.memmap) or mapping is None or array.filename is None or not array.flags.c_contiguous:
        raise TypeError(
            f"data must be maps of files, as open_idx and np.load(path, mmap_mode='r') return them, got "
            f"{describe(array)} in memory; save it to a file that the workers can read"
        )
    # A map begins at a multiple of this number of bytes.
    begin = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
    offset = begin + array.ctypes.data - np.frombuffer(mapping, np.uint8).ctypes.data
    return FileRows(os.fspath(array.filename), offset, array.dtype.str, array.shape)


def open_file(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Map an ``.npy`` file or an IDX file into memory."""
    if os.fspath(path).endswith(".npy"):
        mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return mapped
    return open_idx(path)


def check_shards(shards: Iterable[GivenShard]) -> list[Shard]:
    """Return the shards with absolute paths; reject other objects."""
    if isinstance(shards, str | os.PathLike) or not isinstance(shards, Iterable):
        raise TypeError(f"shards must be a list, as shards_of returns it, got {type(shards).__name__}")
    checked: list[Shard] = []
    for number, shard in enumerate(shards):
        if callable(shard):
            checked.append(shard)
            continue
        sources = tuple(shard) if isinstance(shard, Sequence) and not isinstance(shard, str) else ()
        if len(sources) not in (2, 3) or not all(isinstance(each, str | os.PathLike | FileRows) for each in sources):
            raise TypeError(
                f"shards[{number}] must be the paths of X, y and perhaps sample_weight, or a function that returns "
                f"them, got {type(shard).__name__}: tasks carry no arrays"
            )
        checked.append(tuple(each if isinstance(each, FileRows) else os.path.abspath(each) for each in sources))
    if not checked:
        raise ValueError("shards is empty")
    return checked


def open_shard(shard: Shard, number: int, where: str) -> LabelledSet:
    """Open and check shard `number` on the worker at the address `where`; errors name both.

    Images of more dimensions become rows.
    """
    if callable(shard):
        try:
            arrays = tuple(shard())
        except Exception as error:
            raise RuntimeError(f"the function shards[{number}] failed on worker {where}: {error!r}") from error
        if len(arrays) not in (2, 3):
            raise TypeError(f"shards[{number}] must return X, y and perhaps sample_weight, got {len(arrays)} values")
    else:
        arrays = tuple(open_source(source, where) for source in shard)
    X, y, *weights = arrays
    if isinstance(X, np.ndarray) and X.ndim > 2:
        X = X.reshape(len(X), -1)
    name = f"shards[{number}]"
    X = checks.check_features(X, name=f"X of {name}")
    checks.check_examples(X, name=f"X of {name}")
    y = checks.check_labels(y, len(X), np.iinfo(np.int32).max, name=f"y of {name}")
    return LabelledSet(X, y, checks.check_sample_weight(weights[0] if weights else None, len(X)))


def open_source(source: Source, where: str) -> NDArray[Any]:
    """Map a file; an error names the worker and the path."""
    path = source.path if isinstance(source, FileRows) else source
    try:
        return source.open() if isinstance(source, FileRows) else open_file(source)
    except (OSError, ValueError) as error:
        kind = OSError if isinstance(error, OSError) else ValueError
        raise kind(f"worker {where} cannot read {path}: {error}") from error
