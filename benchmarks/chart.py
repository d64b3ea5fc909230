"""The chart of a side-by-side run as SVG: needs Matplotlib (pip install '.[plot]')."""

from pathlib import Path

import matplotlib
import svg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from tables import OURS, headline_cases, least

from fastml.plotting.figures import TEST_COLOUR, TRAIN_COLOUR


def label(seconds: float) -> str:
    """Return seconds in the form of the chart."""
    return f"{seconds:.3g} s"


def draw(results: dict, path: Path) -> None:
    """Draw the least seconds of each peer, with a panel for each of the README's cases that the results have."""
    cases = headline_cases(results)
    if not cases:
        raise SystemExit("the chart needs one of the cases nn-400, nn-100 and softmax")
    names = list(results["peers"])
    with matplotlib.rc_context(svg.STYLE):
        figure = Figure(figsize=(3.3 * len(cases) + 1.6, 0.32 * len(names) + 1), layout="constrained")
        panels = figure.subplots(1, len(cases), sharey=True, squeeze=False)[0]
        for axes, (title, case) in zip(panels, cases.items(), strict=True):
            times = {name: least(case, name) for name in names if name in case["peers"]}
            axes.axvline(times[OURS], color=TEST_COLOUR, linewidth=0.8, alpha=0.5)
            for name, seconds in times.items():
                colour = TEST_COLOUR if name == OURS else TRAIN_COLOUR
                axes.plot(seconds, names.index(name), "o", color=colour)
                at = (seconds, names.index(name))
                axes.annotate(label(seconds), at, (7, 0), textcoords="offset points", va="center", color=colour)
            axes.set_xscale("log")
            axes.set(title=title, xlabel="seconds of an epoch", yticks=range(len(names)), yticklabels=names)
            # Room for the last label.
            axes.set_xlim(min(times.values()) / 1.5, max(times.values()) * 5)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.grid(axis="y", alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
        panels[0].invert_yaxis()
    svg.save(figure, path)
