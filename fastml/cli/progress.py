"""A notice on the terminal about compilation while a command runs."""

import sys

from numba.core import event


class CompileNotice(event.Listener):
    """Prints a notice on stderr when the first kernel is compiled. Kernels from the cache cause no notice."""

    said = False

    def on_start(self, compilation):
        """Print the notice, once."""
        if not self.said:
            self.said = True
            print("fastml: compiling the kernels, some seconds ...", file=sys.stderr, flush=True)

    def on_end(self, compilation):
        """Print nothing."""
