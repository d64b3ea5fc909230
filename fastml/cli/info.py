"""`fastml info`: print the facts that a report of a problem or a speed should contain."""

import argparse

import numba

from fastml.kernels.loss import judge_logits
from fastml.roofline import Roofline, machine_facts


def add(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Add the command to the argparse commands and return its parser."""
    parser = commands.add_parser("info", help="print versions, CPU, threads and cache")
    parser.add_argument(
        "--roofline", action="store_true", help="measure how fast this machine multiplies and adds, and reads memory"
    )
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Print facts about the machine and its software; with --roofline also the measured limits."""
    if numba.config.DISABLE_JIT:
        cache = "none: NUMBA_DISABLE_JIT is set, so no kernel can run"
    else:
        cache = judge_logits.stats.cache_path or "none: no directory that can be written"
    facts = machine_facts() | {"cache": cache}
    if arguments.roofline:
        roofline = Roofline()
        roofline.measure()
        facts |= roofline.facts()
    for name, fact in facts.items():
        print(f"{name:<17} {fact}")
