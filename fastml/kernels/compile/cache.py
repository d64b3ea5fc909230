"""The cache of machine code on disk: never stale, and never the cause of an error."""

import hashlib
import inspect
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import ModuleType

from numba.core.caching import FunctionCache, IndexDataCacheFile


def kernel_sources(directory: Traversable, of_kernels: bool = False) -> Iterator[Traversable]:
    """Yield the source files in all directories named kernels, and below them; the package may lie in a zip file."""
    for entry in sorted(directory.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from kernel_sources(entry, of_kernels or entry.name == "kernels")
        elif of_kernels and entry.name.endswith(".py"):
            yield entry


@cache
def digest_of_kernels() -> bytes:
    """Return a digest of the source of all kernels, the compile options included; OSError where there is no source."""
    sources = [source.read_bytes() for source in kernel_sources(files("fastml"))]
    if not sources:
        raise OSError("the source of the kernels cannot be read")
    return hashlib.sha256(b"".join(hashlib.sha256(source).digest() for source in sources)).digest()


@cache
def source_digest(module: ModuleType) -> str:
    """Return a digest of the source of all kernels, and of a module with kernels of its own."""
    return hashlib.sha256(digest_of_kernels() + inspect.getsource(module).encode()).hexdigest()


class KernelCache(FunctionCache):
    """Numba's cache on disk, with two more promises.

    Numba compares the file of the kernel alone, and would keep machine code with an old helper inlined. Here the stamp
    covers the source of all kernels; where there is no source, nothing is cached. A full, read-only or damaged cache
    counts as no cache and raises no error.
    """

    def __init__(self, py_func: Callable):
        stamp = source_digest(inspect.getmodule(py_func))
        super().__init__(py_func)
        self._cache_file = IndexDataCacheFile(self._cache_path, self._impl.filename_base, stamp)

    def load_overload(self, sig, target_context):
        """Return the compiled overload, or None if none can be read.

        Two processes that save at the same moment may give their files one name. The index then leads to code for
        other types, which must not be called.
        """
        try:
            found = super().load_overload(sig, target_context)
        except Exception:  # a truncated or foreign pickle raises nearly anything
            found = None
            self._discard()
        if found is not None and tuple(found.signature.args) != tuple(getattr(sig, "args", sig)):
            found = None
        return found

    def save_overload(self, sig, data):
        """Save the compiled overload if the disk has room and can be written."""
        try:
            super().save_overload(sig, data)
        except Exception:
            self._discard()

    def _discard(self):
        try:
            self.flush()
        except OSError:
            self.disable()
