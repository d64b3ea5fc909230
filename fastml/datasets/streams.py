"""Compressed streams that are read to their last byte: Python's own readers ignore other bytes after bzip2 and xz."""

import bz2
import lzma
from io import BufferedReader, RawIOBase
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK_BYTES = 2**20
BZIP2_MAGIC, XZ_MAGIC = b"BZh", b"\xfd7zXZ\0"


class Readable(Protocol):
    """A stream of bytes to read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to size bytes, all that are left if size is -1."""


class Decompressor(Protocol):
    """The interface that decompressors of the standard library share."""

    @property
    def eof(self) -> bool:
        """Whether the end of the stream has been reached."""

    @property
    def needs_input(self) -> bool:
        """Whether more data are needed before more can be decompressed."""

    @property
    def unused_data(self) -> bytes:
        """The bytes after the end of the stream."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Return up to max_length decompressed bytes."""


class WholeStream(RawIOBase):
    """The decompressed content of a file of bzip2 or xz streams, one after the other.

    Reading raises EOFError for a stream that ends early, and for other bytes after the last stream. Between streams of
    xz there may be zero bytes.
    """

    def __init__(self, file: BufferedReader, magic: bytes):
        self.file, self.magic = file, magic
        self.decompressor = self.new()

    def new(self) -> Decompressor:
        """Return a decompressor at the beginning of a stream."""
        return bz2.BZ2Decompressor() if self.magic == BZIP2_MAGIC else lzma.LZMADecompressor(lzma.FORMAT_XZ)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Fill a buffer from its beginning; return the number of bytes, 0 at the end."""
        view = memoryview(buffer)
        while True:
            given = b""
            if self.decompressor.eof:
                given = self.next_stream()
                if not given:
                    return 0
                self.decompressor = self.new()
            elif self.decompressor.needs_input:
                given = self.file.read(CHUNK_BYTES)
                if not given:
                    raise EOFError("it ends early")
            try:
                data = self.decompressor.decompress(given, len(view))
            except MemoryError as error:  # the header of xz may request 4 GB
                raise lzma.LZMAError("it needs a dictionary larger than the memory") from error
            if data:
                view[: len(data)] = data
                return len(data)

    def next_stream(self) -> bytes:
        """Return the first bytes of the stream after the one that has ended, none if it was the last."""
        given = self.decompressor.unused_data
        while True:
            if self.magic == XZ_MAGIC:
                given = given.lstrip(b"\0")
            if len(given) >= len(self.magic) or not (more := self.file.read(CHUNK_BYTES)):
                break
            given += more
        if given and not given.startswith(self.magic):
            raise EOFError("other bytes follow its end")
        return given


def whole_stream(file: BufferedReader, magic: bytes) -> BufferedReader:
    """Return a file of bzip2 or xz streams as a decompressed stream."""
    return BufferedReader(WholeStream(file, magic), CHUNK_BYTES)
