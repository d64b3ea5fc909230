"""Times the stages of examples/kernels side by side, and writes the table and the chart of docs/from-a-plain-loop.md.

python benchmarks/tutorial.py [--rounds N] [--threads N] [--page]

The stages take turns, so that a minute in which other programs use the cores does not fall on one of them alone.
"""

import argparse
import importlib
import json
import sys
import textwrap
from pathlib import Path
from typing import ClassVar

from cases import CASES
from implementations.base import Implementation
from implementations.fastml import Fastml
from page import with_report
from side_by_side import TOLERANCE, facts_of_run, limit_threads, markdown_table
from tables import least

from fastml.files import replacing
from fastml.roofline import Roofline

HERE = Path(__file__).parent
STAGES_PATH = HERE.parent / "examples" / "kernels"
DOCS = HERE.parent / "docs"
RESULTS, CHART, PAGE = HERE / "tutorial.json", DOCS / "from-a-plain-loop.svg", DOCS / "from-a-plain-loop.md"
BEGIN = "<!-- made by benchmarks/tutorial.py -->\n"
# The module of each stage, and its name in the table.
STAGES = {
    "stage1_numpy": "1 NumPy",
    "stage2_loops": "2 loops",
    "stage3_parallel": "3 fused, parallel",
    "stage4_tile": "4 register tile",
    "stage5_panels": "5 panels",
    "stage6_lists": "6 lists",
    "stage7_team": "7 team",
}
CASE = next(case for case in CASES if case.name == "nn-400")


class Stage(Implementation):
    """A stage of the tutorial."""

    module: ClassVar[str]

    def epoch(self) -> None:
        """Run an epoch."""
        importlib.import_module(self.module).nn_epoch(self.X, self.y, *self.weights, self.lr, self.batch)


def stages() -> list[type[Implementation]]:
    """Return the stages, and the library."""
    sys.path.append(str(STAGES_PATH))
    made = [
        type(module, (Stage,), {"name": name, "module": module, "single_thread": module == "stage2_loops"})
        for module, name in STAGES.items()
    ]
    return [*made, Fastml]


def measure(rows: int, rounds: int, threads: int) -> dict:
    """Time all stages in turn; return the raw figures, in the form that `chart.draw` takes."""
    roofline, work, found = Roofline(), CASE.work(rows), stages()
    roofline.measure()
    sides = [work.side(each) for each in found]
    for each, side in zip(found, sides, strict=True):
        difference = work.difference(side, sides[0])
        if not difference <= TOLERANCE:
            raise SystemExit(f"{each.name} and NumPy differ by {difference:.1e} of the norm")
    seconds = work.seconds(sides, rounds)
    roofline.measure()
    peers = {
        each.name: {"seconds": times, "threads": 1 if each.single_thread else threads}
        for each, times in zip(found, seconds, strict=True)
    }
    return {
        "machine": facts_of_run() | roofline.facts(),
        "threads": threads,
        "rounds": rounds,
        "rows": rows,
        "peers": {each.name: "" for each in found},
        "FMA peak": {"1": roofline.peaks["float32", 1], str(threads): roofline.peak("float32")},
        "cases": [{"name": CASE.name, "operations": CASE.operations(rows), "peers": peers}],
    }


def table(results: dict) -> str:
    """Return the table of the page."""
    (case,), rows, before = results["cases"], [], None
    for name, peer in case["peers"].items():
        seconds, peak = least(case, name), results["FMA peak"][str(peer["threads"])]
        rate = case["operations"] / seconds / 1e9
        microseconds = seconds / results["rows"] * CASE.batch * 1e6
        gain = f"{before / seconds:.2f}" if before else ""
        times = [f"{seconds:.3f}", f"{microseconds:.0f}", gain]
        rows.append([name, peer["threads"], *times, f"{rate:.0f}", f"{rate / peak:.2f}"])
        before = seconds
    header = ["stage", "threads", "seconds of an epoch", "us of a batch", "times as fast as the stage before"]
    return markdown_table([*header, "effective GFLOP/s", "of the FMA peak of its threads"], rows)


def report(results: dict) -> str:
    """Return the table, the chart and how both were measured."""
    machine = results["machine"]
    how = f"""\
{machine["cpu"]}, compiled for {machine["compiled for"]}, {machine["date"]}. FMA peak in float32:
{machine["float32 FMA peak"]}; read bandwidth: {machine["read bandwidth"]}. MNIST, 400 hidden units, batches of
{CASE.batch}, float32; the least of {results["rounds"]} rounds in turn. Effective GFLOP/s count the products with zeros.
"""
    chart = f"![Seconds of an epoch by each stage]({CHART.name})"
    return "\n\n".join((table(results), chart, textwrap.fill(how, 120)))


def main() -> None:
    """Measure unless only the page is to be made, then write the chart and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="by default %(default)s")
    parser.add_argument("--threads", type=int, help="of all but stage 2; by default one a core")
    parser.add_argument("--page", action="store_true", help="measure nothing, make the page of the last figures")
    arguments = parser.parse_args()
    if not arguments.page:
        results = measure(60_000, arguments.rounds, limit_threads(arguments.threads))
        with replacing(RESULTS) as file:
            file.write((json.dumps(results, indent=1) + "\n").encode())
    from chart import draw

    results = json.loads(RESULTS.read_text())
    draw(results, CHART)
    PAGE.write_text(with_report(PAGE.read_text(), report(results), BEGIN))
    print(table(results))


if __name__ == "__main__":
    main()
