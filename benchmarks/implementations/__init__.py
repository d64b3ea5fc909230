"""The same epochs by fastml and by its peers: each has a module, and `installed` imports them all.

A module lists its implementations. Its import raises ImportError where a package that it needs is not installed.
"""

import importlib

from implementations.base import Implementation

MODULES = ("fastml", "numpy", "cplusplus", "numba_loops", "torch", "jax", "scikit_learn")


def installed() -> tuple[list[type[Implementation]], dict[str, str]]:
    """Return the implementations that can run here, fastml and NumPy first; and why other modules cannot."""
    found, missing = [], {}
    for module in MODULES:
        try:
            found += importlib.import_module(f"{__name__}.{module}").IMPLEMENTATIONS
        except ImportError as error:
            missing[module] = str(error)
    return found, missing
