"""The tables of the README and of docs/speed.md, and the chart, say what the committed figures say."""

import json
import re

import chart
import page
import pytest
import svg
import tables

RESULTS = json.loads(page.RESULTS.read_text())
DOCS = page.PAGE.parent
CHARTS = [page.CHART, DOCS / "many-machines.svg", *sorted(DOCS.glob("pictures/*.svg"))]
GREYS = {"#b0b0b0", "#999999"}


@pytest.mark.parametrize("path", page.REPORTS, ids=lambda path: path.name)
def test_pages_quote_the_results(path):
    text = path.read_text()
    assert text == page.with_report(text, page.REPORTS[path](RESULTS)), "run python benchmarks/page.py"


def test_the_chart_names_each_number():
    drawn = page.CHART.read_text()
    for title, case in tables.headline_cases(RESULTS).items():
        assert title in drawn
        for peer in case["peers"]:
            assert peer in drawn
            assert f">{chart.label(tables.least(case, peer))}<" in drawn


def test_the_same_figures_give_the_same_chart(tmp_path):
    charts = [tmp_path / name for name in ("one.svg", "two.svg")]
    for path in charts:
        chart.draw(RESULTS, path)
    one, two = (path.read_bytes() for path in charts)
    assert one == two


@pytest.mark.parametrize("path", CHARTS, ids=lambda path: path.name)
def test_charts_have_colours_for_dark_pages(path):
    drawn = path.read_text()
    assert svg.dark_rules() in drawn
    # Every colour of a chart is one that the style sheet replaces, or a grey of grids and dashed lines.
    assert set(re.findall(r'style="[^"]*?(#[0-9a-f]{6})', drawn)) <= {*svg.DARK, *GREYS}


def test_a_page_without_a_place_for_results_is_rejected():
    with pytest.raises(ValueError, match="no place"):
        page.with_report("# fastml\n", "a table")


def test_only_cases_of_many_classes_need_a_paragraph_about_them():
    ten, hundred = {"name": "nn-400"}, {"num_classes": 100, "pixels": "embeddings", "rows": 20_000}
    assert tables.explanation_of_classes({"cases": [ten]}) == ""
    assert "20,000 rows" in tables.explanation_of_classes({"cases": [ten, hundred]})


def test_tables_of_a_case_by_hand():
    peers = {
        "fastml": {"seconds": [0.5, 0.25, 1.0], "threads": 2, "difference": 0.0, "peak memory": 200_000_000},
        "NumPy": {"seconds": [1.0, 2.0, 4.0], "threads": 2, "difference": 0.0, "peak memory": None},
    }
    case = {"name": "softmax", "dtype": "float64", "hidden_dim": 0, "bound": 3, "aim": 5, "peers": peers}
    case |= {"operations": 5e9, "bytes": 1e9}
    results = {"cases": [case], "FMA peak": {"float32": 80.0, "float64": 40.0}, "read bandwidth": 20.0}
    fastml, numpy = tables.full_table(results).splitlines()[2:]
    assert fastml == "| softmax | fastml | 2 | 0.2500 | 0.5000 | 1.00 | 20 | 0.50 | 0.20 | 200 |"
    assert numpy == "| softmax | NumPy | 2 | 1.0000 | 2.0000 | 4.00 | 5 | 0.12 | 0.05 |  |"
    floors = tables.floors_table(results).splitlines()[2]
    assert tables.not_as_planned(results) == "Every case reaches the plan here."
    late = {**results, "cases": [{**case, "bound": 4.5}, case]}
    assert tables.not_as_planned(late) == "1 of 2 cases miss the plan here: softmax."
    assert floors == "| softmax | 0.1250 | 0.0500 | 0.2500 | 2.00 | 5.00 | 4.00 | 4.00 | 3 | 5 |"
