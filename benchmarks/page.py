"""Makes benchmarks/README.md, its chart and the README's table from the raw figures of a side-by-side run.

python benchmarks/peers.py --json benchmarks/results.json
python benchmarks/page.py
"""

import json
from pathlib import Path

from tables import full_report, short_report

HERE = Path(__file__).parent
RESULTS, CHART, PAGE = HERE / "results.json", HERE / "results.svg", HERE / "README.md"
README = HERE.parent / "README.md"
BEGIN, END = "<!-- made by benchmarks/page.py -->\n", "<!-- end -->"


def page(results: dict) -> str:
    """Return the page of results."""
    return f"""\
# Results

`python benchmarks/peers.py --json benchmarks/results.json` measured this; `python benchmarks/page.py` made of it this
page, its chart and the table in the README. What else is here: `python benchmarks/grid.py` looks for shapes at which
NumPy is faster; the suites that asv runs and the counts of instructions are in [CONTRIBUTING.md](../CONTRIBUTING.md).

![Seconds of an epoch by fastml and its peers](results.svg)

{full_report(results)}"""


def with_short_report(readme: str, results: dict) -> str:
    """Return the README's text with its results replaced by these."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"README.md has no place for results: {BEGIN.strip()} and {END.strip()}")
    return f"{before}{begin}\n{short_report(results)}\n\n{end}{after}"


def main() -> None:
    """Make all three from benchmarks/results.json."""
    from chart import draw

    results = json.loads(RESULTS.read_text())
    draw(results, CHART)
    PAGE.write_text(page(results))
    README.write_text(with_short_report(README.read_text(), results))


if __name__ == "__main__":
    main()
