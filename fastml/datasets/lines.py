"""The lines of a text that may be compressed, as a stream: a text may be larger than memory."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader

from fastml.files import open_zip

from .idx import DAMAGED_STREAM_ERRORS, decompressed
from .streams import BZIP2_MAGIC, Readable, whole_stream

ZIP_MAGIC = b"PK\x03\x04"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Bytes of text that are read at a time.
BLOCK_BYTES = 2**22
# The largest accepted directory of an archive: that of one file is smaller.
MOST_DIRECTORY_BYTES = 1 << 14


class ConvertError(ValueError):
    """A text is invalid; the message names the file and, if possible, the line."""


@contextmanager
def text_stream(file: BufferedReader) -> Iterator[Readable]:
    """Open the text in a file: plain, compressed with gzip, bzip2 or xz, or the only file in a zip archive."""
    start = file.peek(len(ZIP_MAGIC))
    if start.startswith(BZIP2_MAGIC):
        yield whole_stream(file, BZIP2_MAGIC)
    elif start.startswith(ZIP_MAGIC):
        with open_zip(file, MOST_DIRECTORY_BYTES) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            if len(names) != 1:
                raise ConvertError(f"{file.name}: found {len(names)} files in the archive, need one: unzip it")
            with archive.open(names[0]) as stream:
                yield stream
    else:
        yield decompressed(file)


def read_lines(file: BufferedReader, longest: int) -> Iterator[bytes]:
    """Yield the text of a file in blocks of whole lines, each of which ends in a newline.

    Carriage returns, alone or before a newline, are newlines too. A byte order mark of UTF-8 is left out. A line of
    more than longest bytes is an error.
    """
    rest, first = b"", True
    try:
        with text_stream(file) as stream:
            while data := stream.read(BLOCK_BYTES):
                while data.endswith(b"\r") and (more := stream.read(1)):
                    data += more
                if first:
                    data, first = data.removeprefix(BYTE_ORDER_MARK), False
                if b"\r" in data:
                    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
                end = data.rfind(b"\n") + 1
                if end:
                    yield rest + data[:end]
                    rest = data[end:]
                else:
                    rest += data
                if len(rest) > longest:
                    raise ConvertError(f"{file.name}: found a line of more than {longest} bytes")
    except ConvertError:
        raise
    except (*DAMAGED_STREAM_ERRORS, zipfile.BadZipFile, ValueError, RuntimeError, OSError) as error:
        # For damaged data, bz2 raises an OSError without errno. An OSError with errno is an error of the disk.
        if getattr(error, "errno", None) is not None:
            raise
        raise ConvertError(f"{file.name}: found a damaged compressed stream ({error}), need a whole one") from error
    if rest:
        yield rest + b"\n"
