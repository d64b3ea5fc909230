"""How fast fastml is beside its peers on this machine: Markdown on the standard output.

python benchmarks/peers.py [--quick] [--json FILE] [--plot FILE.svg] [CASE ...]

fastml, NumPy, C++ loops, PyTorch, JAX and scikit-learn, as far as they are installed (pip install '.[bench]'), run the
same epochs: the same data in the same order, from the same start weights. A peer whose results differ from NumPy's is
not timed. benchmarks/page.py makes the page of results from the raw figures.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from cases import CASES, Case
from implementations import installed
from implementations.base import Implementation
from implementations.fastml import Fastml
from implementations.numpy import NumPy
from peak_memory import peak_memory
from side_by_side import SLOW_ROUNDS, SLOW_SECONDS, TOLERANCE, facts_of_run, limit_threads
from tables import full_report

from fastml.files import replacing
from fastml.roofline import Roofline


def peers_of(case: Case, found: list[type[Implementation]]) -> list[type[Implementation]]:
    """Return the implementations that take part in a case."""
    able = [each for each in found if each.evaluate or not case.evaluation]
    able = [each for each in able if case.num_classes <= each.most_classes and case.optimizer in each.optimizers]
    return able if case.all_peers else [each for each in able if each in (Fastml, NumPy)]


def run_case(case: Case, found: list[type[Implementation]], rows: int, rounds: int, threads: int) -> dict:
    """Run a case; return its figures."""
    work = case.work(rows)
    sides = {each: work.side(each) for each in peers_of(case, found)}
    differences = {each: work.difference(side, sides[NumPy]) for each, side in sides.items()}
    if not differences[Fastml] <= TOLERANCE:
        raise SystemExit(f"{case.name}: fastml and NumPy differ by {differences[Fastml]:.1e} of the norm")
    differing = {each.name: differences[each] for each in sides if not differences[each] <= TOLERANCE}
    sides = {each: side for each, side in sides.items() if each.name not in differing}
    seconds = work.seconds(list(sides.values()), rounds)
    peers = {
        each.name: {
            "seconds": times,
            "threads": 1 if each.single_thread else threads,
            "difference": differences[each],
            "peak memory": peak_memory(each, work.X_for(each), work),
        }
        for each, times in zip(sides, seconds, strict=True)
    }
    figures = {"rows": len(work.y), "operations": case.operations(rows), "bytes": work.X_for(Fastml).nbytes}
    return {**asdict(case), **figures, "peers": peers, "differing": differing}


def run_cases(names: list[str], rows: int, rounds: int, threads: int) -> dict:
    """Run the named cases, or all; return the raw figures."""
    found, missing = installed()
    roofline, cases = Roofline(), []
    for case in (case for case in CASES if case.name in names or not names):
        print(f"{case.name} ...", file=sys.stderr)
        roofline.measure()
        cases.append({"dtype": case.dtype} | run_case(case, found, rows, rounds, threads))
    roofline.measure()
    return {
        "machine": facts_of_run() | roofline.facts(),
        "threads": threads,
        "peers": {each.name: each.version for each in found},
        "missing": missing,
        "rows": rows,
        "rounds": rounds,
        "slow": {"seconds": SLOW_SECONDS, "rounds": SLOW_ROUNDS},
        "FMA peak": {dtype: roofline.peak(dtype) for dtype in ("float32", "float64")},
        "read bandwidth": roofline.bandwidth(),
        "cases": cases,
    }


def main() -> None:
    """Read the command line, run what it asks for and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(case.name for case in CASES))
    parser.add_argument("--threads", type=int, help="of all that can have more than one; by default one a core")
    parser.add_argument("--rounds", type=int, help="by default 5")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, 3 rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the raw figures there as well")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw them there, which needs Matplotlib")
    arguments = parser.parse_args()
    if unknown := set(arguments.cases) - {case.name for case in CASES}:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    if arguments.plot:
        from chart import draw
    threads = limit_threads(arguments.threads)
    rounds = arguments.rounds or (3 if arguments.quick else 5)
    results = run_cases(arguments.cases, 6_000 if arguments.quick else 60_000, rounds, threads)
    print(full_report(results))
    if arguments.json:
        with replacing(arguments.json) as file:
            file.write((json.dumps(results, indent=1) + "\n").encode())
    if arguments.plot:
        draw(results, arguments.plot)


if __name__ == "__main__":
    main()
