"""Is a branch slower? Run asv on two commits, repeat what it flags, and print only what stays.

    python benchmarks/compare_branch.py main my-branch --bench '^(epochs|evaluation)'

asv takes the rounds of both commits in turn. On a machine that others use too, it still flags benchmarks of unchanged
code now and then, but hardly the same ones twice. The exit status is 1 if a benchmark is slower both times.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Callable

# A line of asv's table: the change, both times, their ratio, and the benchmark with its parameters.
LINE = re.compile(r"^\| *([-+!]) *\|.*\| *(\S.*?) *\|$", re.MULTILINE)
SLOWER = "+!"  # a time that has grown, and a benchmark that now fails


def flagged(report: str) -> dict[str, tuple[str, str]]:
    """Return the change and the line of each benchmark that a report of asv flags, by the name of the benchmark."""
    return {match[2]: (match[1], match[0]) for match in LINE.finditer(report)}


def compare(compare_once: Callable[[list[str]], str], bench: list[str]) -> dict[str, tuple[str, str]]:
    """Return what is flagged with the same change twice: first of the benchmarks wanted, then of those flagged.

    Parameters
    ----------
    compare_once : callable
        Returns asv's report on the benchmarks that match one of some regular expressions.
    bench : list of str
        The regular expressions; none for all benchmarks.
    """
    first = flagged(compare_once(bench))
    if not first:
        return {}
    again = flagged(compare_once([f"^{re.escape(name)}$" for name in first]))
    return {name: found for name, found in again.items() if name in first and first[name][0] == found[0]}


def run_asv(base: str, branch: str, factor: float, bench: list[str]) -> str:
    """Return what asv prints on two commits; show it on standard error meanwhile."""
    command = [sys.executable, "-m", "asv", "continuous", "--interleave-rounds", f"--factor={factor}", base, branch]
    for expression in bench:
        command += ["--bench", expression]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            lines.append(line)
            print(line, end="", file=sys.stderr, flush=True)
    if process.returncode not in (0, 1):  # 1 says that something is slower
        raise SystemExit(f"asv ended with status {process.returncode}")
    return "".join(lines)


def main() -> int:
    """Compare two commits and print the benchmarks that differ both times; return 1 if one of them is slower."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="the commit or branch to compare with, such as main")
    parser.add_argument("branch", help="the commit or branch that is compared")
    parser.add_argument(
        "--bench", action="append", default=[], metavar="REGEX", help="benchmarks to run (default: all)"
    )
    parser.add_argument("--factor", type=float, default=1.1, help="what counts as a change (default: %(default)s)")
    arguments = parser.parse_args()
    stays = compare(lambda bench: run_asv(arguments.base, arguments.branch, arguments.factor, bench), arguments.bench)
    print("\n".join(line for _, line in stays.values()) or "nothing differs twice")
    return int(any(change in SLOWER for change, _ in stays.values()))


if __name__ == "__main__":
    raise SystemExit(main())
