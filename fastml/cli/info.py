"""`fastml info`: print the facts that a report of a problem or a speed should contain."""

import argparse
import json
from typing import Any

import numba

from fastml.cli.arguments import Commands, add_command
from fastml.kernels.loss import judge_logits
from fastml.roofline import Roofline, machine_facts


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the command to the argparse commands and return its parser."""
    purpose = "Print versions, CPU, threads and cache: facts that a report of a problem or of a speed should contain."
    parser = add_command(commands, "info", purpose, "fastml info --roofline --json")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument(
        "--roofline", action="store_true", help="measure how fast this machine multiplies and adds, and reads memory"
    )
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Print facts about the machine and its software; with --roofline also the measured limits."""
    if numba.config.DISABLE_JIT:
        cache = "none: NUMBA_DISABLE_JIT is set, so no kernel can run"
    else:
        dispatcher: Any = judge_logits  # a decorator of fastml returns any callable
        cache = dispatcher.stats.cache_path or "none: no directory that can be written"
    facts = machine_facts() | {"cache": cache}
    if arguments.roofline:
        roofline = Roofline()
        roofline.measure()
        facts |= roofline.facts()
    if arguments.json:
        print(json.dumps(facts, indent=2))
        return
    for name, fact in facts.items():
        print(f"{name:<17} {fact}")
