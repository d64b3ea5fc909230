"""Read and write IDX, the format that MNIST and the data sets modelled on it are published in.

An IDX file is two zero bytes, one byte for the type of the elements, one byte for the number of dimensions, every
dimension as a big-endian uint32, then the elements, big-endian, the last index running fastest. The types are

    ======  =======      ======  =======
    0x08    uint8        0x0C    int32
    0x09    int8         0x0D    float32
    0x0B    int16        0x0E    float64
    ======  =======      ======  =======

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", section "The IDX file format".
"""

from __future__ import annotations

import gzip
import lzma
import math
import os
import struct
import zlib
from contextlib import AbstractContextManager, nullcontext
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml.arrays import as_array
from fastml.files import replacing

from .streams import CHUNK_BYTES, XZ_MAGIC, Readable, whole_stream

_DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_TYPE_CODES = {dtype.str: code for code, dtype in _DTYPES.items()}
_DTYPE_NAMES = ", ".join(f"{dtype.name} (0x{code:02X})" for code, dtype in _DTYPES.items())
_LARGEST_DIMENSION = 2**32 - 1

_GZIP_MAGIC = b"\x1f\x8b"
DAMAGED_STREAM_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError)

# Level 9 takes far longer than level 6, for files that are hardly smaller.
_GZIP_LEVEL = 6


class IdxError(ValueError):
    """A file, or an array to be written to one, is not what IDX (or the data set it belongs to) allows."""


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an array from an IDX file, plain or compressed with gzip or xz.

    The first bytes of the file, not its name, show the compression. Memory grows with the data that are read, whatever
    size the header claims, and a stream is read at most one byte beyond this size.

    Parameters
    ----------
    path : str or os.PathLike
        A regular file.

    Returns
    -------
    ndarray
        The elements in the shape of the header, which may be ``()``; uint8, int8, int16, int32, float32 or float64 in
        native byte order; C-contiguous and writable.

    Raises
    ------
    IdxError
        If the magic number is not one of IDX, the file ends too early or too late, NumPy has no array of that shape, or
        a compressed stream is damaged.
    OSError
        If the file is missing or cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory, "two-by-two")
    ...     _ = path.write_bytes(bytes([0, 0, 0x08, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4]))
    ...     read_idx(path)
    array([[1, 2],
           [3, 4]], dtype=uint8)
    """
    name = os.fspath(path)
    with open(name, "rb") as file, decompressed(file) as stream:
        try:
            dtype, shape = read_header(stream, name)
            claimed = math.prod(shape) * dtype.itemsize
            if stream is file:
                check_size(os.fstat(file.fileno()).st_size - file.tell(), claimed, dtype, shape, name)
                # Faster than the growing buffer of _read_at_most.
                data = np.fromfile(file, np.uint8)
            else:
                data = np.frombuffer(_read_at_most(stream, claimed + 1), np.uint8)
        except DAMAGED_STREAM_ERRORS as error:
            raise IdxError(f"{name}: found a damaged compressed stream ({error}), need a whole one") from error
    check_size(len(data), claimed, dtype, shape, name)
    array = shaped(data, dtype, shape, name)
    return array if dtype.isnative else array.byteswap(inplace=True).view(dtype.newbyteorder("="))


def write_idx(path: str | os.PathLike[str], array: ArrayLike) -> None:
    """Write an array to an IDX file, completely or not at all.

    The file is written under a temporary name in the same directory, flushed to the disk and renamed, so `path` holds
    either its old content or the complete new array. The same array always gives the same bytes.

    Parameters
    ----------
    path : str or os.PathLike
        The file to write: compressed with gzip if its name ends in ``.gz``, with xz if in ``.xz``, else plain.
    array : array_like
        uint8, int8, int16, int32, float32 or float64 of any shape, strides and byte order.

    Raises
    ------
    TypeError, ValueError
        If IDX does not support the dtype, or an element is masked.
    IdxError
        If a dimension is larger than 2**32 - 1.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory, "halves.gz")
    ...     write_idx(path, np.array([0.5, 1.5], np.float32))
    ...     read_idx(path)
    array([0.5, 1.5], dtype=float32)
    """
    path = Path(path)
    array = as_array("array", array)
    dtype = array.dtype.newbyteorder(">")
    if dtype.str not in _TYPE_CODES:
        raise TypeError(f"{path}: found dtype {array.dtype}, IDX has {_DTYPE_NAMES}")
    if max(array.shape, default=0) > _LARGEST_DIMENSION:
        raise IdxError(f"{path}: found shape {array.shape}, IDX has dimensions up to {_LARGEST_DIMENSION}")
    with replacing(path) as file, _compressed(file, path.name) as stream:
        stream.write(idx_header(dtype, array.shape))
        stream.write(np.ascontiguousarray(array, dtype).data)


def idx_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return the header of an IDX file; the dtype must be big-endian or have one byte."""
    # IDX stores the number of dimensions in one byte, which is enough for the at most 64 dimensions of NumPy.
    return struct.pack(f">HBB{len(shape)}I", 0, _TYPE_CODES[dtype.str], len(shape), *shape)


def decompressed(file: BufferedReader) -> BufferedReader | gzip.GzipFile:
    """Return a stream of the decompressed bytes of `file`; `file` itself if it is not compressed."""
    start = file.peek(len(XZ_MAGIC))
    if start.startswith(_GZIP_MAGIC):
        return gzip.GzipFile(fileobj=file, mode="rb")
    if start.startswith(XZ_MAGIC):
        return whole_stream(file, XZ_MAGIC)
    return file


def _compressed(
    file: BufferedWriter, name: str
) -> AbstractContextManager[BufferedWriter | gzip.GzipFile | lzma.LZMAFile]:
    """Return the context of a stream that compresses into `file` by the suffix of `name` and leaves `file` open."""
    if name.endswith(".gz"):
        # No name and no time in the gzip header, so that the same array always gives the same bytes.
        return gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=_GZIP_LEVEL, mtime=0)
    if name.endswith(".xz"):
        return lzma.LZMAFile(file, "wb")
    return nullcontext(file)


def read_header(stream: Readable, name: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return the dtype and shape that the header claims, and leave `stream` at the first element."""
    magic = stream.read(4)
    if len(magic) < 4:
        raise IdxError(f"{name}: found {len(magic)} bytes, an IDX header has 4 or more")
    *zeros, type_code, ndim = magic
    if any(zeros) or type_code not in _DTYPES:
        raise IdxError(f"{name}: found magic number 0x{magic.hex()}, IDX has 0x0000 and then a type of {_DTYPE_NAMES}")
    dimensions = stream.read(4 * ndim)
    if len(dimensions) < 4 * ndim:
        raise IdxError(f"{name}: found a header of {4 + len(dimensions)} bytes, {ndim} dimensions need {4 + 4 * ndim}")
    return _DTYPES[type_code], struct.unpack(f">{ndim}I", dimensions)


def _read_at_most(stream: Readable, limit: int) -> bytearray:
    """Read at most `limit` bytes of `stream`; memory grows with the data that are read, even for a huge `limit`."""
    data = bytearray()
    while chunk := stream.read(min(CHUNK_BYTES, limit - len(data))):
        data += chunk
    return data


def check_size(found: int, claimed: int, dtype: np.dtype[Any], shape: tuple[int, ...], name: str) -> None:
    """Reject data with `found` bytes if the header claims another size."""
    if found != claimed:
        bound = "or more " if found > claimed else ""
        raise IdxError(f"{name}: found {found} {bound}bytes of data, {dtype.name} of shape {shape} needs {claimed}")


def shaped(data: NDArray[Any], dtype: np.dtype[Any], shape: tuple[int, ...], name: str) -> NDArray[Any]:
    """Return bytes as the array that the header claims, without a copy."""
    try:
        return data.view(dtype).reshape(shape)
    except ValueError as error:
        raise IdxError(f"{name}: found shape {shape}, need one that NumPy can hold ({error})") from error
