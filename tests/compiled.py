"""Kernels' helpers in a form that Python can call."""

import numba

from fastml.kernels.compile.options import OPTIONS


def compiled(function):
    """Compile a function, or a helper anew, with the options of the kernels and with what Python needs to call it."""
    return numba.njit(**OPTIONS)(getattr(function, "py_func", function))
