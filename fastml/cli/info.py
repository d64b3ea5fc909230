"""`fastml info`: what a report of a problem, or of a speed, should come with."""

import argparse
import os
import platform
from importlib.metadata import version

import llvmlite
import numba
import numpy as np
from numba.core.registry import cpu_target

from fastml.kernels.simd import REGISTER_BYTES
from fastml.kernels.softmax import judge


def add(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Add the command to argparse's, and return its parser."""
    return commands.add_parser("info", help="print versions, CPU, threads and cache")


def run(arguments: argparse.Namespace) -> None:
    """Print what a report of a problem, or of a speed, should come with."""
    _, cpu, _ = cpu_target.target_context.codegen().magic_tuple()
    threads = numba.get_num_threads()  # starts them: before, no threading layer is chosen
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = {
        "fastml": version("fastml"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
        "cpu": cpu,
        "vectors": f"{8 * REGISTER_BYTES} bits",
        "usable cores": cores,
        "threads": threads,
        "threading layer": numba.threading_layer(),
        "cache": judge.stats.cache_path or "none: no directory that can be written",
    }
    for name, fact in facts.items():
        print(f"{name:<16} {fact}")
