"""The pages of the documentation: versions agree, links lead somewhere, Python runs, every public name has a page."""

import contextlib
import doctest
import io
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest

import fastml
import fastml.dask
import fastml.datasets.convert
import fastml.datasets.fetch
import fastml.estimators
import fastml.hw0
import fastml.plotting

ROOT = Path(__file__).parents[1]
PAGES = [
    path
    for pattern in ("*.md", "docs/*.md", "examples/*.md", "benchmarks/**/*.md", ".github/**/*.md")
    for path in sorted(ROOT.glob(pattern))
]
MOST_LINES_OF_README = 120
# A block of code, and the comment before it that says why it is not run.
BLOCK = re.compile(r"^(<!-- not run: [^\n]+ -->\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def name_of(path):
    return str(path.relative_to(ROOT))


def blocks(path):
    """Return the language and the code of each block of a page that is to be run."""
    return [(language, code) for reason, language, code in BLOCK.findall(path.read_text()) if not reason]


def without_code(text):
    """Return a page without its blocks of code and without code within a line."""
    return re.sub(r"`[^`\n]+`", "", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


def anchors(path):
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(text)}


def api_entries():
    """Yield the objects that the page of the API lists."""
    module = None
    for line in (ROOT / "docs" / "api.md").read_text().splitlines():
        if line.startswith(".. currentmodule:: "):
            module = line.split()[-1]
        elif entry := re.fullmatch(r" {3}([\w.]+)", line):
            yield pkgutil.resolve_name(f"{module}:{entry[1]}")


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= MOST_LINES_OF_README


def test_the_readme_has_the_two_commands():
    commands = re.findall(r"^python3 -m venv .*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert [command.rpartition("/")[2] for command in commands] == ["fastml train", "python -m pytest -n 2"]


def test_versions_agree():
    citation, changelog = ((ROOT / name).read_text() for name in ("CITATION.cff", "CHANGELOG.md"))
    version, date = re.search(r"^## \[(\d[^\]]*)\] - ([\d-]+)$", changelog, re.MULTILINE).groups()
    assert version == fastml.__version__
    assert f"\nversion: {version}\ndate-released: {date}\n" in citation


def test_hooks_before_commits_have_the_versions_of_the_package():
    pinned = [
        set(re.findall(r'"((?:ruff|typos)==[\d.]+)"', (ROOT / name).read_text()))
        for name in ("pyproject.toml", ".pre-commit-config.yaml")
    ]
    assert pinned[0] == pinned[1] != set()


def test_every_script_that_measures_is_listed():
    scripts = {path.name for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text()}
    listed = re.findall(r"^\| `(\w+\.py)`", (ROOT / "benchmarks" / "README.md").read_text(), re.MULTILINE)
    assert scripts == set(listed)


def test_every_public_name_is_on_the_page_of_the_api():
    listed = {id(entry) for entry in api_entries()}
    modules = (fastml, fastml.dask, fastml.datasets, fastml.estimators, fastml.hw0, fastml.plotting)
    missing = [
        f"{module.__name__}.{name}"
        for module in modules
        for name in module.__all__
        if not isinstance(getattr(module, name), ModuleType) and id(getattr(module, name)) not in listed
    ]
    assert missing == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_resolve(path):
    for link in LINK.findall(without_code(path.read_text())):
        if re.match(r"\w+://|mailto:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("path", [path for path in PAGES if "python" in dict(blocks(path))], ids=name_of)
def test_python_on_pages_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": path.stem}
    for number, (language, code) in enumerate(blocks(path)):
        if language == "python":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(code, f"{path.name}, block {number}", "exec"), namespace)
        elif language == "pycon":
            test = doctest.DocTestParser().get_doctest(code, namespace, path.name, str(path), 0)
            assert doctest.DocTestRunner(verbose=False).run(test).failed == 0
