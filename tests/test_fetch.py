import dataclasses
import gzip
import hashlib
import io
import re
import socket
import sys
import threading
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from fastml.cli import main
from fastml.datasets import IdxError, load_mnist
from fastml.datasets import fetch as fetching
from fastml.datasets.fetch import RECORD, fetch
from fastml.datasets.idx import idx_header
from fastml.datasets.sources import FILES, SETS, Download, Source

MIB = 2**20
COUNTS = {"train": 7, "t10k": 3}
random = np.random.default_rng(0)
IMAGES = {which: random.integers(0, 256, (count, 3, 3), np.uint8) for which, count in COUNTS.items()}
LABELS = {which: random.integers(0, 10, count, np.uint8) for which, count in COUNTS.items()}


def idx_bytes(array):
    dtype = array.dtype.newbyteorder(">")
    return idx_header(dtype, array.shape) + array.astype(dtype).tobytes()


def parts(images=IMAGES, labels=LABELS):
    """The four files of the small set, compressed."""
    arrays = [part[which] for which in COUNTS for part in (images, labels)]
    return {file: gzip.compress(idx_bytes(array), mtime=0) for file, array in zip(FILES, arrays, strict=True)}


class Handler(BaseHTTPRequestHandler):
    """A server of `server.files`, under paths whose first part says how it misbehaves."""

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        _, manner, name = self.path.split("/")
        self.server.requests.append(self.path)
        getattr(self, manner)(self.server.files[name])

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def good(self, body):
        self.reply(200, body, Content_Length=len(body))

    def missing(self, body):
        self.reply(404, b"<html>", Content_Length=6)

    def cut(self, body):
        self.reply(200, body[: len(body) // 2], Content_Length=len(body))

    def wrong(self, body):
        self.reply(200, body[:-1] + b"?", Content_Length=len(body))

    def endless(self, body):
        self.reply(200)
        try:
            while True:
                self.wfile.write(bytes(MIB))
        except OSError:
            self.close_connection = True

    def to_file(self, body):
        self.reply(302, Location=self.server.secret.as_uri(), Content_Length=0)

    def to_other_scheme(self, body):
        self.reply(302, Location="https://127.0.0.1:1/", Content_Length=0)

    def round_and_round(self, body):
        self.reply(302, Location=self.path, Content_Length=0)

    def hang(self, body):
        self.server.released.wait(10)

    def moved(self, body):
        self.reply(302, Location=self.path.replace("moved", "good"), Content_Length=0)

    def labelled(self, body):
        """As some servers do with every .gz."""
        self.reply(200, body, Content_Length=len(body), Content_Encoding="gzip")

    def transcode(self, body):
        """As some stores do: compress on the way for those who say that they take it."""
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            packed = gzip.compress(body)
            self.reply(200, packed, Content_Length=len(packed), Content_Encoding="gzip")
        else:
            self.good(body)


FAULTS = {
    "missing": "404",
    "cut": "IncompleteRead|does not match",
    "wrong": "does not match the known hash",
    "endless": "found more than [0-9]+ bytes",
    "to_file": "No connection adapters were found for 'file://",
    "to_other_scheme": "No connection adapters were found for 'https://",
    "round_and_round": "redirects",
    "hang": "timed out",
    "refused": "refused",
}
every_fault = pytest.mark.parametrize(("fault", "match"), FAULTS.items(), ids=FAULTS)


@pytest.fixture
def server(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.requests, server.released = parts(), [], threading.Event()
    # A right file, so that only the scheme can keep it from being taken.
    server.secret = tmp_path / "secret"
    server.secret.write_bytes(server.files[FILES[0]])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def house(tmp_path, monkeypatch):
    """The cache directory; HTTP is taken for HTTPS, as the server has no certificate."""
    monkeypatch.setattr(fetching, "SCHEME", "http://")
    monkeypatch.setattr(fetching, "TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(fetching, "BLOCK_EXAMPLES", 3)
    monkeypatch.setattr(fetching, "cache", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def publish(server, monkeypatch):
    """A function that makes the server's files a set, at addresses of these manners, in turn."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refused = closed.getsockname()[1]

    def publish(*manners, name="small", member=None, **changes):
        sources = {}
        for file, array in zip(FILES, (part[which] for which in COUNTS for part in (IMAGES, LABELS)), strict=True):
            data = server.files[file]
            urls = tuple(
                f"http://127.0.0.1:{refused if manner == 'refused' else server.server_port}/{manner}/{file}"
                for manner in manners
            )
            wish = Download(f"{name}/{file}.gz", urls, hashlib.sha256(data).hexdigest(), len(data))
            sources[file] = Source(wish, changes.get(file, array.shape), member)
        monkeypatch.setitem(SETS, name, sources)
        return sources

    return publish


def assert_is_small_set(directory):
    train, test = load_mnist(directory, raw=True)
    for which, (X, y) in (("train", train), ("t10k", test)):
        np.testing.assert_array_equal(X, IMAGES[which].reshape(-1, 9))
        np.testing.assert_array_equal(y, LABELS[which])
    assert {path.name for path in directory.iterdir()} == {*FILES, RECORD}


def files_in(directory):
    return [path for path in directory.rglob("*") if path.is_file()]


@pytest.mark.parametrize("manner", ["good", "moved", "labelled", "transcode"])
def test_fetches_four_plain_idx_files(server, house, publish, tmp_path, manner):
    publish(manner)
    assert fetch("small", tmp_path / "new" / "data") == tmp_path / "new" / "data"
    assert_is_small_set(tmp_path / "new" / "data")
    assert fetch("small") == house / "small"
    assert_is_small_set(house / "small")
    assert len(server.requests) == (8 if manner == "moved" else 4)  # the second time, nothing is downloaded


@every_fault
def test_fault_is_told_and_leaves_nothing(house, publish, tmp_path, fault, match):
    publish(fault)
    with pytest.raises(OSError, match=match) as info:
        fetch("small", tmp_path / "data")
    if fault == "refused":
        assert (
            str(info.value)
            == f"small/{FILES[0]}.gz could not be fetched: no connection to 127.0.0.1 (Connection refused)"
        )
    else:
        assert f"/{fault}/{FILES[0]}: " in str(info.value)
    assert not files_in(house)
    assert not files_in(tmp_path / "data")


@every_fault
def test_next_address_is_tried(house, publish, tmp_path, fault, match):
    publish(fault, "good")
    assert_is_small_set(fetch("small", tmp_path / "data"))


def test_command_tells_in_one_line_what_every_address_said(capsys, house, publish, tmp_path):
    publish("missing", "wrong", "refused")
    assert main(["fetch", "small", str(tmp_path / "data")]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fastml: error: small/{FILES[0]}.gz could not be fetched from http://127.0.0.1:")
    assert re.search(r"/missing/.*: 404 .*; nor from .*/wrong/.* hash.*; nor from .*/refused/.*refused", line)


def test_command_behind_a_failed_network_prints_one_line(capsys, caplog, house, publish, tmp_path):
    publish("refused", "refused")
    fetching.pooch.get_logger().addHandler(caplog.handler)
    assert main(["fetch", "small", str(tmp_path / "data")]) == 2
    reason = "no connection to 127.0.0.1 (Connection refused), nor to 127.0.0.1 (Connection refused)"
    assert capsys.readouterr().err == f"fastml: error: small/{FILES[0]}.gz could not be fetched: {reason}\n"
    assert caplog.records == []


def test_command_says_where_the_set_is(capsys, server, house, publish):
    publish("good")
    assert main(["fetch", "small"]) == 0
    assert capsys.readouterr().out == f"{house / 'small'} holds small; {house / 'downloads'} keeps the downloads\n"
    assert main(["fetch", "small"]) == 0
    assert capsys.readouterr().out == f"{house / 'small'} holds small already\n"
    assert len(server.requests) == 4


def test_unknown_set(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["fetch", "mnits"])
    assert "invalid choice: 'mnits'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["pooch", "requests"])
def test_missing_pooch_is_told(capsys, monkeypatch, name):
    monkeypatch.delitem(sys.modules, "fastml.datasets.fetch")
    monkeypatch.setitem(sys.modules, name, None)
    assert main(["fetch", "mnist"]) == 2
    assert capsys.readouterr().err == "fastml: error: fetching a set needs pooch: pip install 'fastml[fetch]'\n"


def test_nothing_but_https(house, publish, server, monkeypatch):
    monkeypatch.setattr(fetching, "SCHEME", "https://")
    publish("good")
    with pytest.raises(OSError, match="No connection adapters were found for 'http://"):
        fetch("small")
    assert not server.requests


@pytest.mark.parametrize("name", tuple(SETS))
def test_addresses_and_digests_have_their_form(name):
    assert tuple(SETS[name]) == FILES
    for source in SETS[name].values():
        assert all(url.startswith("https://") for url in source.download.urls)
        assert re.fullmatch("[0-9a-f]{64}", source.download.sha256)
        assert source.download.size > 0


def test_file_that_changed_in_the_cache_is_fetched_again(server, house, publish, tmp_path):
    publish("good")
    fetch("small", tmp_path / "one")
    kept = house / "downloads" / "small" / f"{FILES[0]}.gz"
    kept.write_bytes(kept.read_bytes()[:-1])
    assert_is_small_set(fetch("small", tmp_path / "two"))
    assert server.requests[4:] == [f"/good/{FILES[0]}"]


def test_set_is_completed(house, publish, tmp_path):
    publish("good")
    data = fetch("small", tmp_path / "data")
    (data / FILES[2]).unlink()
    untouched = (data / FILES[0]).stat().st_mtime_ns
    fetch("small", data)
    assert_is_small_set(data)
    assert (data / FILES[0]).stat().st_mtime_ns == untouched


@pytest.mark.parametrize("record", [None, b"other", b"\xff" * 100])
def test_other_data_are_not_touched(capsys, server, house, publish, tmp_path, record):
    publish("good")
    data = tmp_path / "data"
    data.mkdir()
    (data / FILES[1]).write_bytes(b"mine")
    if record is not None:
        (data / RECORD).write_bytes(record)
    before = files_in(data)
    assert main(["fetch", "small", str(data)]) == 2
    assert f"{data} holds {FILES[1]}, which is not known to be of small" in capsys.readouterr().err
    assert (data / FILES[1]).read_bytes() == b"mine"
    assert files_in(data) == before
    assert not server.requests


def test_destination_is_checked_before_the_download(server, house, publish, tmp_path):
    publish("good")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        fetch("small", tmp_path / "file")
    assert not server.requests


def test_directory_without_permission(server, house, publish, monkeypatch, tmp_path):
    publish("good")
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    with pytest.raises(PermissionError, match="no permission"):
        fetch("small", tmp_path)
    assert not server.requests


def test_interrupted_download_leaves_nothing(house, publish):
    publish("good")

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("small", progress=interrupt)
    assert not files_in(house)


def test_progress_ends_each_file_at_its_total(server, house, publish):
    sources = publish("good")
    calls = []
    fetch("small", progress=lambda *call: calls.append(call))
    sizes = [source.download.size for source in sources.values()]
    assert [done for done, total in calls if done == total] == [size for size in sizes for _ in range(2)]


def test_two_at_once(house, publish, tmp_path):
    publish("good")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fetch, ["small"] * 4, [tmp_path / "data"] * 4))
    assert_is_small_set(tmp_path / "data")


def test_class_of_qmnist_labels(server, house, publish, tmp_path):
    labels = {which: np.full((len(y), 8), 2**31 - 1, np.int32) for which, y in LABELS.items()}
    for which, y in LABELS.items():
        labels[which][:, 0] = y
    server.files = parts(labels=labels)
    publish("good", **{FILES[1]: (7, 8), FILES[3]: (3, 8)})
    assert_is_small_set(fetch("small", tmp_path / "data"))


def zip_bytes(members, **settings):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, **settings) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_letters_become_numbers_from_0_with_their_names(server, house, publish, monkeypatch, tmp_path):
    labels = {which: y + 1 for which, y in LABELS.items()}
    server.files = parts(labels=labels)
    sources = publish("good", name="emnist-letters")
    for file in (FILES[1], FILES[3]):
        sources[file] = dataclasses.replace(sources[file], first_label=1)
    assert_is_small_set(fetch("emnist-letters", tmp_path / "data"))
    assert load_mnist(tmp_path / "data")[1].classes[:3] == ("A", "B", "C")


def test_emnist_s_letters_are_published_from_1():
    assert [source.first_label for source in SETS["emnist-letters"].values()] == [0, 1, 0, 1]
    assert [source.shape[0] for source in SETS["emnist-letters"].values()] == [124_800, 124_800, 20_800, 20_800]
    assert {source.first_label for source in SETS["emnist-digits"].values()} == {0}


def test_emnist_s_images_are_put_upright(server, house, monkeypatch, tmp_path):
    lying = parts({which: images.transpose(0, 2, 1) for which, images in IMAGES.items()})
    members = {f"gzip/{file}.gz": data for file, data in lying.items()}
    members |= {"../escaped": b"", "/tmp/escaped": b"", "gzip/other.gz": bytes(MIB)}
    data = server.files["gzip.zip"] = zip_bytes(members)
    url = f"http://127.0.0.1:{server.server_port}/good/gzip.zip"
    wish = Download("emnist/gzip.zip", (url,), hashlib.sha256(data).hexdigest(), len(data))
    shapes = [part[which].shape for which in COUNTS for part in (IMAGES, LABELS)]
    sources = {
        file: Source(wish, shape, f"gzip/{file}.gz", len(shape) == 3) for file, shape in zip(FILES, shapes, strict=True)
    }
    monkeypatch.setitem(SETS, "small", sources)
    assert_is_small_set(fetch("small", tmp_path / "data"))
    assert len(server.requests) == 1
    assert not list(tmp_path.rglob("escaped"))


BOMB = gzip.compress(idx_bytes(IMAGES["train"]) + bytes(64 * MIB))
GOOD = parts()[FILES[0]]
WRONG = {
    "bomb": (BOMB, None, r"found b'\\x00', need b''"),
    "bomb in a zip": (zip_bytes({"inner": BOMB}), "inner", r"found b'\\x00', need b''"),
    "no such member": (zip_bytes({"other": GOOD}), "inner", "no item named 'inner'"),
    "no zip": (GOOD, "inner", "not a zip file"),
    "no gzip": (b"<html>", None, "Not a gzipped file"),
    "gzip cut off": (GOOD[:-9], None, "ended before"),
    "gzip with wrong CRC": (GOOD[:-5] + b"?" + GOOD[-4:], None, "CRC"),
    "a pixel missing": (gzip.compress(idx_bytes(IMAGES["train"])[:-1]), None, "found 8, need 9"),
    "other shape": (gzip.compress(idx_bytes(IMAGES["t10k"])), None, "found b'.*need b'"),
    "other dtype": (gzip.compress(idx_bytes(IMAGES["train"].view(np.int8))), None, "found b'.*need b'"),
    "empty": (gzip.compress(b""), None, "found b''"),
}


@pytest.mark.parametrize(("data", "member", "match"), WRONG.values(), ids=WRONG)
def test_right_digest_of_something_else(server, house, publish, tmp_path, data, member, match):
    server.files[FILES[0]] = data
    publish("good", member=member)
    tracemalloc.start()
    try:
        with pytest.raises(IdxError, match=match):
            fetch("small", tmp_path / "data")
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    finally:
        tracemalloc.stop()
    assert [path.name for path in (tmp_path / "data").iterdir()] == [RECORD]
