"""The cache of machine code on disk: never stale, and never the cause of an error."""

import hashlib
import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path

from numba.core.caching import FunctionCache, IndexDataCacheFile

PACKAGE = Path(__file__).parents[2]


@cache
def source_digest(file: Path) -> str:
    """SHA-256 of the source of all kernels, the compile options included, and of a file with kernels of its own."""
    digest = hashlib.sha256()
    for path in sorted({file, *PACKAGE.glob("**/kernels/**/*.py")}):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class KernelCache(FunctionCache):
    """Numba's cache on disk, with two more promises.

    Numba compares the file of the kernel alone, and would keep machine code with an old helper inlined. Here the stamp
    covers the source of all kernels. A full, read-only or damaged cache counts as no cache and raises no error.
    """

    def __init__(self, py_func: Callable):
        super().__init__(py_func)
        stamp = source_digest(Path(inspect.getfile(py_func)))
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
        """Save the compiled overload if the disk takes it."""
        try:
            super().save_overload(sig, data)
        except Exception:
            self._discard()

    def _discard(self):
        try:
            self.flush()
        except OSError:
            self.disable()
