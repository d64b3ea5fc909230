"""Charts of the documentation as SVG, legible on light and on dark pages: needs Matplotlib (pip install '.[plot]')."""

import io
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from fastml.files import replacing

# A fixed salt gives the same bytes for the same figures. Text stays text, so that it can be searched.
STYLE = {"svg.hashsalt": "fastml", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}
# What becomes of each colour where the reader has chosen dark pages. A chart has a background of its own, so it is
# legible on any page.
DARK = {"#ffffff": "#131416", "#000000": "#cfd0d0", "#0072b2": "#56b4e9", "#d55e00": "#f0803c", "#009e73": "#35c49a"}


def dark_rules() -> str:
    """Return the style sheet of a chart: the system's sans-serif font, and the colours for dark pages."""
    rules = [
        f'[style*="{kind}: {light}"] {{{kind}: {dark} !important}}'
        for light, dark in DARK.items()
        for kind in ("fill", "stroke")
    ]
    return f"@media (prefers-color-scheme: dark) {{svg {{fill: {DARK['#000000']}}} {' '.join(rules)}}}"


def save(figure: Figure, path: Path) -> None:
    """Write a figure that was drawn in the style of this module, completely or not at all."""
    svg = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(svg, format="svg", metadata={"Date": None})
    # In quotes, "sans-serif" would be the name of a font and not the system's font without serifs.
    text = svg.getvalue().replace("'sans-serif'", "sans-serif").replace("</style>", f"\n{dark_rules()}</style>", 1)
    with replacing(path) as file:
        file.write(text.encode())
