"""asv's page of graphs: its scripts come to lie beside it."""

import base64
import hashlib
import re
from pathlib import Path

import pytest
from publish import REMOTE, with_own_scripts

CODE = b"let answer = 42;"


def page_in(directory, content):
    """Return a page that loads a script and a style sheet from another site, as asv's does."""
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    attributes = f'integrity="sha512-{digest}" crossorigin="anonymous" referrerpolicy="no-referrer"'
    page = directory / "index.html"
    page.write_text(
        f'<script src="https://example.invalid/lib/code.min.js" {attributes} onerror="failed()"></script>\n'
        f'<link rel="stylesheet" href="https://example.invalid/style.css" {attributes}>\n'
        '<script src="asv.js"></script>\n'
    )
    return page


def test_a_page_loads_scripts_from_beside_it(tmp_path):
    page, scripts = page_in(tmp_path, CODE), tmp_path / "kept"
    scripts.mkdir()
    for name in ("code.min.js", "style.css"):
        (scripts / name).write_bytes(CODE)
    assert with_own_scripts(page, scripts) == ["code.min.js", "style.css"]
    assert page.read_text() == (
        '<script src="scripts/code.min.js" onerror="failed()"></script>\n'
        '<link rel="stylesheet" href="scripts/style.css">\n'
        '<script src="asv.js"></script>\n'
    )
    assert (tmp_path / "scripts" / "code.min.js").read_bytes() == CODE


def test_a_file_that_is_not_what_the_page_names_is_rejected(tmp_path, monkeypatch):
    page, scripts = page_in(tmp_path, CODE), tmp_path / "kept"

    def download(url, output_file, pooch, **_):
        Path(output_file).write_bytes(b"something else")

    monkeypatch.setattr("pooch.core.choose_downloader", lambda *_, **__: download)
    before = page.read_text()
    with pytest.raises(ValueError, match="hash"):
        with_own_scripts(page, scripts)
    assert page.read_text() == before


def test_every_address_on_asvs_own_page_is_known():
    asv = pytest.importorskip("asv")
    html = (Path(asv.__file__).parent / "www" / "index.html").read_text()
    loaded = re.findall(r'(?:<script[^>]* src|<link[^>]* href)="(https?://[^"]+)"', html)
    assert loaded == [remote["url"] for remote in REMOTE.finditer(html)] != []
