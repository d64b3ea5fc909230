"""Settings of the site that Sphinx builds from this directory: `python -m sphinx -W docs site`."""

import os
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx

import fastml

HERE = Path(__file__).parent

project = "fastml"
author = "the fastml contributors"
project_copyright = author
version = release = fastml.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["sg_execution_times.rst", "templates"]
templates_path = ["templates"]
# Names in single backticks are links to the pages of the functions.
default_role = "py:obj"

html_theme = "furo"
html_title = f"fastml {release}"
html_static_path = ["static"]
html_css_files = ["fastml.css"]
html_show_sourcelink = False
# The colours of the pictures: blue for links, and the lighter blue of the same hue on dark pages.
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0072B2", "color-brand-content": "#0072B2"},
    "dark_css_variables": {"color-brand-primary": "#56B4E9", "color-brand-content": "#56B4E9"},
}

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autosummary_generate = True
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    # large_mnist.py needs a directory for its images, so the gallery shows it without running it.
    "filename_pattern": r"/(?!large_mnist)\w+\.py$",
    "within_subsection_order": "FileNameSortKey",
    "default_thumb_file": str(HERE / "pictures" / "deformations.png"),
    "nested_sections": False,
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 3600,
    "write_computation_times": False,
}


# Pages of the site whose text is a file elsewhere in the repository. Here they only hold a link, for readers on GitHub.
ELSEWHERE = {
    "benchmarks": HERE.parent / "benchmarks" / "README.md",
    "benchopt": HERE.parent / "benchmarks" / "benchopt" / "README.md",
    "changelog": HERE.parent / "CHANGELOG.md",
    "contributing": HERE.parent / "CONTRIBUTING.md",
    "security": HERE.parent / "SECURITY.md",
}
# The pages of the site that take the place of files, in links.
IN_PLACE_OF = {path: HERE / f"{name}.md" for name, path in ELSEWHERE.items()}
IN_PLACE_OF[HERE.parent / "examples" / "README.md"] = HERE / "gallery" / "index.rst"
LINK = re.compile(r"(?<=\]\()([^)#:\s]+\.md)(?=[)#])")


def read_page(app: Sphinx, name: str, source: list[str]) -> None:
    """Replace the text of a page by the file that it stands for, and links to such files by links to their pages."""
    path = HERE / f"{name}.md"
    if name in ELSEWHERE:
        path = ELSEWHERE[name]
        app.env.note_dependency(path)
        source[0] = path.read_text()
    if not path.exists():
        return

    def on_the_site(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(path.parent / link[1]))
        return os.path.relpath(IN_PLACE_OF.get(target, target), HERE / Path(name).parent)

    source[0] = LINK.sub(on_the_site, source[0])


def add_mathml(translator: Any, node: nodes.math | nodes.math_block) -> None:
    """Write a formula as MathML: browsers draw it without a script, and so without a network."""
    is_block = isinstance(node, nodes.math_block)
    mathml = tex2mathml(node.astext(), as_block=is_block)
    translator.body.append(f'<div class="formula">{mathml}</div>' if is_block else mathml)
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Make MathML the form of formulas, and let pages stand for files elsewhere in the repository."""
    app.connect("source-read", read_page)
    app.add_html_math_renderer("mathml", (add_mathml, None), (add_mathml, None))


html_math_renderer = "mathml"
