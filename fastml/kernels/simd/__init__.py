"""Vectors, register tiles, masks and atomics as Numba types and intrinsics: all code that builds LLVM instructions."""
