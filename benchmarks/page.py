"""Writes the results of a side-by-side run into README.md and docs/speed.md, and draws their chart.

python benchmarks/peers.py --json benchmarks/results.json
python benchmarks/page.py
"""

import json
from pathlib import Path

from tables import full_report, short_report

HERE = Path(__file__).parent
RESULTS, CHART = HERE / "results.json", HERE / "results.svg"
README, PAGE = HERE.parent / "README.md", HERE.parent / "docs" / "speed.md"
REPORTS = {README: short_report, PAGE: full_report}
BEGIN, END = "<!-- made by benchmarks/page.py -->\n", "<!-- end -->"


def with_report(text: str, report: str, begin: str = BEGIN) -> str:
    """Return the text of a page with what lies between its markers replaced by a report."""
    before, begin, rest = text.partition(begin)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page has no place for results: {begin.strip()} and {END}")
    return f"{before}{begin}\n{report.strip()}\n\n{end}{after}"


def main() -> None:
    """Write the chart and both pages from benchmarks/results.json."""
    from chart import draw

    results = json.loads(RESULTS.read_text())
    draw(results, CHART)
    for path, report in REPORTS.items():
        path.write_text(with_report(path.read_text(), report(results)))


if __name__ == "__main__":
    main()
