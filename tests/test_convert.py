import bz2
import gzip
import lzma
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastml.cli import main
from fastml.datasets import convert as converting
from fastml.datasets import load_mnist, read_idx
from fastml.datasets.convert import ConvertError, convert, format_of

MIB = 2**20
COMPRESS = {"plain": bytes, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}
SHAPE = (3, 2)
FORMATS = ("libsvm", "csv")


def examples(count, shape=SHAPE, zeros=0.7):
    random = np.random.default_rng(count)
    X = random.integers(0, 256, (count, *shape), np.uint8)
    X[random.random(X.shape) < zeros] = 0
    return X, random.integers(0, 256, count, np.uint8)


def libsvm(X, y):
    rows = X.reshape(len(X), -1)
    lines = (
        " ".join([str(label), *(f"{i + 1}:{value}" for i, value in enumerate(row) if value)])
        for row, label in zip(rows, y, strict=True)
    )
    return "\n".join(lines).encode() + b"\n"


def csv(X, y, head=True):
    table = np.column_stack([y, X.reshape(len(X), -1)])
    names = ",".join(["label", *(f"pixel{i}" for i in range(table.shape[1] - 1))])
    return "\n".join([names] * head + [",".join(map(str, row)) for row in table]).encode() + b"\n"


WRITE = {"libsvm": libsvm, "csv": csv}


@pytest.fixture
def paths(tmp_path):
    return tmp_path / "text", tmp_path / "images", tmp_path / "labels"


def converted(paths, text, **settings):
    """What a text is converted to; afterwards only it is in the directory."""
    source, images, labels = paths
    source.write_bytes(text)
    count = convert(source, images, labels, **{"shape": SHAPE} | settings)
    X, y = read_idx(images), read_idx(labels)
    assert len(X) == len(y) == count
    assert set(source.parent.iterdir()) == set(paths)
    return X, y


def refuse(paths, text, match, **settings):
    """Assert that a text is refused with an error that names the file, and that nothing is left."""
    source, images, labels = paths
    source.write_bytes(text)
    with pytest.raises(ConvertError, match=match) as info:
        convert(source, images, labels, **{"shape": SHAPE} | settings)
    assert str(info.value).startswith(str(source))
    assert list(source.parent.iterdir()) == [source]


@pytest.mark.parametrize("compress", COMPRESS.values(), ids=COMPRESS)
@pytest.mark.parametrize("text_format", FORMATS)
@pytest.mark.parametrize("block", [32, 2**22])
def test_round_trip(monkeypatch, paths, compress, text_format, block):
    monkeypatch.setattr(converting, "BLOCK_BYTES", block)  # text in many blocks, and in one
    monkeypatch.setattr(converting, "BLOCK_PIXELS", block)  # and so the images
    X, y = examples(200)
    found = converted(paths, compress(WRITE[text_format](X, y)), text_format=text_format)
    for array, expected in zip(found, (X, y), strict=True):
        np.testing.assert_array_equal(array, expected, strict=True)


def test_streams_one_behind_another(paths):
    X, y = examples(10)
    for compress in (gzip.compress, bz2.compress, lzma.compress):
        found, _ = converted(paths, b"".join(compress(libsvm(X[i : i + 1], y[i : i + 1])) for i in range(10)))
        np.testing.assert_array_equal(found, X)


@pytest.mark.parametrize(
    ("text", "text_format"),
    [
        (b"7 1:255 6:9\n3 2:1\n", "libsvm"),
        (b"7 1:255 6:9\n3 2:1", "libsvm"),  # no newline at the end
        (b"7 1:255 6:9 \r\n3 2:1\t\r\n", "libsvm"),
        (b"\n  7\t1:255   6:9\n\n \n3 2:1\n\n", "libsvm"),
        (b"007 01:0000000000000000000255 3:0 6:9\n3 2:1\n", "libsvm"),
        (b"label,a,b,c,d,e,f\n7,255,0,0,0,0,9\n3,0,1,0,0,0,0\n", "csv"),
        (b'"Label","1x1"\r\n7,255,0,0,0,0,9\r\n3,0,1,0,0,0,0\r\n', "csv"),
        (b"7,255,0,0,0,0,9\n3,0,1,0,0,0,0", "csv"),
        (b"label\n 7 , 255,0,0,0,0,9 \n\n3,0,1,0,0,0,0\n \n", "csv"),
    ],
)
def test_what_is_accepted(paths, text, text_format):
    X, y = converted(paths, text, text_format=text_format)
    assert y.tolist() == [7, 3]
    assert X.reshape(2, 6).tolist() == [[255, 0, 0, 0, 0, 9], [0, 1, 0, 0, 0, 0]]


LABEL = "a label is an integer from 0 to 255"
INDEX = "a pixel is index:value with an index from 1 to 6"
GROW = "the indices of a line must grow"
PIXEL = "the value of a pixel is an integer from 0 to 255"


@pytest.mark.parametrize("lines_before", [0, 3, 100])
@pytest.mark.parametrize(
    ("text_format", "line", "found", "need"),
    [
        ("libsvm", "256 1:1", "'256'", LABEL),
        ("libsvm", "-1 1:1", "'-1'", LABEL),
        ("libsvm", "+1 1:1", "'[+]1'", LABEL),
        ("libsvm", "1.0 1:1", "'1.0'", LABEL),
        ("libsvm", "nan 1:1", "'nan'", LABEL),
        ("libsvm", "1,2 1:1", "'1,2'", LABEL),
        ("libsvm", "1:1 2:2", "'1:1'", LABEL),
        ("libsvm", "# comment", "'#'", LABEL),
        ("libsvm", "18446744073709551617 1:1", "'18446744073709551617'", LABEL),
        ("libsvm", "7 qid:3 1:1", "'qid:3'", INDEX),
        ("libsvm", "7 0:1", "'0:1'", INDEX),
        ("libsvm", "7 -1:1", "'-1:1'", INDEX),
        ("libsvm", "7 1:1 7:1", "'7:1'", INDEX),
        ("libsvm", "7 4294967297:1", "'4294967297:1'", INDEX),
        ("libsvm", "7 1", "'1'", INDEX),
        ("libsvm", "7 :1", "':1'", INDEX),
        ("libsvm", "7 1 :1", "'1'", INDEX),
        ("libsvm", "7 1:1 # comment", "'#'", INDEX),
        ("libsvm", "7 2:1 2:1", "'2:1'", GROW),
        ("libsvm", "7 2:1 1:1", "'1:1'", GROW),
        ("libsvm", "7 1:256", "'1:256'", PIXEL),
        ("libsvm", "7 1:-1", "'1:-1'", PIXEL),
        ("libsvm", "7 1:0.5", "'1:0.5'", PIXEL),
        ("libsvm", "7 1:1e2", "'1:1e2'", PIXEL),
        ("libsvm", "7 1:nan", "'1:nan'", PIXEL),
        ("libsvm", "7 1:", "'1:'", PIXEL),
        ("libsvm", "7 1: 1", "'1:'", PIXEL),
        ("libsvm", "7 1:1:1", "'1:1:1'", PIXEL),
        ("libsvm", f"7 1:{'9' * 1000}", f"'1:{'9' * 38}'", PIXEL),
        ("csv", "256,0,0,0,0,0,0", "'256'", LABEL),
        ("csv", "-1,0,0,0,0,0,0", "'-1'", LABEL),
        ("csv", ",0,0,0,0,0,0", "''", LABEL),
        ("csv", "7;0;0;0;0;0;0", "'7;0;0;0;0;0;0'", LABEL),
        ("csv", "7,0,0,256,0,0,0", "'256'", PIXEL),
        ("csv", "7,0,0,0.5,0,0,0", "'0.5'", PIXEL),
        ("csv", "7,0,0,,0,0,0", "''", PIXEL),
        ("csv", "7,0,0,0,0,0,", "''", PIXEL),
        ("csv", "7,0,0,1 2,0,0,0", "'1 2'", PIXEL),
        ("csv", '7,0,0,"1",0,0,0', "'\"1\"'", PIXEL),
        ("csv", "7,0,0,0,0,0", "6 columns", "need 7: a label and 6 pixels"),
        ("csv", "7", "1 columns", "need 7: a label and 6 pixels"),
        ("csv", "7,0,0,0,0,0,0,0", "8 columns", "need 7: a label and 6 pixels"),
    ],
)
def test_errors_name_the_line(monkeypatch, paths, text_format, line, found, need, lines_before):
    monkeypatch.setattr(converting, "BLOCK_BYTES", 64)
    monkeypatch.setattr(converting, "LINE_BYTES_PER_PIXEL", 200)
    before = WRITE[text_format](*examples(lines_before - 1)) if lines_before else b""
    if text_format == "libsvm" and lines_before:
        before = b"\n" + before
    refuse(
        paths, before + line.encode(), rf", line {lines_before + 1}: found {found}, {need}$", text_format=text_format
    )


def test_first_line_of_names_is_the_first_alone(monkeypatch, paths):
    monkeypatch.setattr(converting, "BLOCK_BYTES", 12)  # the third line begins a block
    refuse(paths, b"label,a\n7,0,0,0,0,0,0\nlabel,a\n", "line 3: found 'label'", text_format="csv")
    refuse(paths, b"pixel0,pixel1\n0,0,0,0,0,0\n", "line 1: found 'pixel0', a label", text_format="csv")


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"text_format": "tsv"}, ValueError),
        ({"shape": (0, 3)}, ValueError),
        ({"shape": (3, -1)}, ValueError),
        ({"shape": (2.5, 2)}, ValueError),
        ({"shape": (6,)}, ValueError),
        ({"shape": ("3", 2)}, TypeError),
        ({"shape": (np.bool_(True), 6)}, TypeError),
    ],
)
def test_wrong_arguments_are_refused(paths, settings, error):
    source, images, labels = paths
    source.write_bytes(b"7 1:1\n")
    (name,) = settings
    with pytest.raises(error, match=f"{name} must be"):
        convert(source, images, labels, **settings)
    assert list(source.parent.iterdir()) == [source]


def test_sides_of_any_integer_type(paths):
    X, _ = converted(paths, b"7 6:9\n", shape=(np.uint8(3), np.array(2.0)))
    assert X.tolist() == [[[0, 0], [0, 0], [0, 9]]]


@pytest.mark.parametrize("text", [b"", b"\n \n", gzip.compress(b"", mtime=0), b"label,a\n"])
def test_no_examples(paths, text):
    refuse(paths, text, "found no examples", text_format="csv")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("damage", ["cut", "bits"])
def test_damaged_stream(paths, compress, damage):
    data = compress(libsvm(*examples(3000)))
    middle = len(data) // 2
    bits = data[:middle] + bytes(byte ^ 0x55 for byte in data[middle : middle + 40]) + data[middle + 40 :]
    refuse(paths, data[:-10] if damage == "cut" else bits, "damaged compressed stream|line")


def test_errors_of_the_disk_stay_os_errors(monkeypatch, paths):
    source, images, labels = paths
    source.write_bytes(bz2.compress(b"7 1:1\n"))

    def fail(*arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(bz2.BZ2File, "read", fail)
    with pytest.raises(OSError, match="Input/output error"):
        convert(source, images, labels)
    with pytest.raises(FileNotFoundError):
        convert(source.with_name("missing"), images, labels)
    assert list(source.parent.iterdir()) == [source]


@pytest.mark.parametrize("compress", COMPRESS.values(), ids=COMPRESS)
@pytest.mark.parametrize("head", [b"7 1:", b""])
def test_line_without_end_takes_no_memory(paths, compress, head):
    data = compress(head + b"1" * (40 * MIB))
    tracemalloc.start()
    try:
        refuse(paths, data, "found a line of more than 4194304 bytes")
        assert tracemalloc.get_traced_memory()[1] - len(data) < 32 * MIB
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_text(paths):
    data = gzip.compress(b"7\n" * 100_000)  # 78 MB of images
    source, images, labels = paths
    source.write_bytes(data)
    tracemalloc.start()
    try:
        assert convert(source, images, labels) == 100_000
        assert tracemalloc.get_traced_memory()[1] < 32 * MIB
    finally:
        tracemalloc.stop()
    assert images.stat().st_size == 16 + 100_000 * 784
    assert not read_idx(images).any()


numbers = st.integers(0, 256).map(str)
pairs = st.lists(
    st.tuples(st.integers(1, 6), numbers).map("{0[0]}:{0[1]}".format), max_size=3, unique_by=lambda p: p[0]
)
libsvm_lines = st.tuples(numbers, pairs.map(sorted)).map(lambda line: " ".join([line[0], *line[1]]) + "\n")
csv_lines = st.lists(numbers, min_size=7, max_size=7).map(lambda line: ",".join(line) + "\n")
noise = st.sampled_from([*"0123456789:,. -#\n\r\t", "1:", "label", "\x00", "é"])
texts = {
    name: st.lists(st.one_of(lines, lines, lines, noise), max_size=6).map("".join)
    for name, lines in (("libsvm", libsvm_lines), ("csv", csv_lines))
}


def oracle(text, text_format):
    """The examples of a text as Python's int and split find them, or None if there is an error."""
    rows = []
    lines = text.replace("\r", " ").replace("\t", " ").split("\n")
    if text_format == "csv" and lines[0].split(",")[0].strip(' "').lower() == "label":
        lines = lines[1:]
    for line in filter(str.strip, lines):
        try:
            fields = line.split() if text_format == "libsvm" else [field.strip(" ") for field in line.split(",")]
            if not all(part.isdigit() and part.isascii() for field in fields for part in field.split(":")):
                return None
            row = [0] * 6
            if text_format == "libsvm":
                pairs = [tuple(map(int, field.split(":"))) for field in fields[1:]]
                indices = [index for index, _ in pairs]
                if indices != sorted(set(indices)) or min(indices, default=1) < 1:
                    return None
                for index, value in pairs:
                    row[index - 1] = value
            else:
                row = list(map(int, fields[1:]))
            row = [int(fields[0]), *row]
        except (ValueError, IndexError):
            return None
        if len(row) != 7 or max(row) > 255:
            return None
        rows.append(row)
    return rows or None


@pytest.mark.parametrize("text_format", FORMATS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_text_gives_what_python_reads_or_an_error(tmp_path_factory, text_format, data):
    directory = tmp_path_factory.mktemp("any")
    text = data.draw(texts[text_format])
    paths = directory / "text", directory / "images", directory / "labels"
    expected = oracle(text, text_format)
    if expected is None:
        refuse(paths, text.encode(), "line|found no examples", text_format=text_format)
    else:
        X, y = converted(paths, text.encode(), text_format=text_format)
        np.testing.assert_array_equal(np.column_stack([y, X.reshape(-1, 6)]), expected)


@pytest.mark.parametrize("text_format", FORMATS)
@given(data=st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes(tmp_path_factory, text_format, data):
    directory = tmp_path_factory.mktemp("any")
    refuse(
        (directory / "text", directory / "images", directory / "labels"), b"x" + data, "line", text_format=text_format
    )


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_interrupted_leaves_what_was_there(monkeypatch, paths, failing, error):
    def fail(*arguments):
        raise error("no space left")

    source, images, labels = paths
    source.write_bytes(b"7 1:1\n")
    images.write_bytes(b"old")
    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(error):
        convert(source, images, labels)
    assert images.read_bytes() == b"old"
    assert {path.name for path in source.parent.iterdir()} == {"text", "images"}


def test_progress_is_in_bytes_of_the_source(monkeypatch, paths):
    monkeypatch.setattr(converting, "BLOCK_BYTES", 1000)
    data = bz2.compress(libsvm(*examples(1000)))
    calls = []
    converted(paths, data, progress=lambda *call: calls.append(call))
    assert calls == sorted(calls)
    assert calls[-1] == (len(data), len(data))


@pytest.mark.parametrize(
    ("name", "text_format"),
    [
        ("train.csv", "csv"),
        ("some.dir/train.csv.gz", "csv"),
        ("train.csv.xz", "csv"),
        ("mnist8m.bz2", "libsvm"),
        ("mnist8m.scale", "libsvm"),
        ("csv", "libsvm"),
    ],
)
def test_format_by_name(name, text_format):
    assert format_of(name) == text_format


def test_command_makes_a_set_to_train_on(capsys, tmp_path):
    sets = examples(20, (4, 5)), examples(10, (4, 5))
    (tmp_path / "train.svm.bz2").write_bytes(bz2.compress(libsvm(*sets[0])))
    (tmp_path / "test.csv").write_bytes(csv(*sets[1]))
    (tmp_path / "data").mkdir()
    data = str(tmp_path / "data")
    assert main(["convert", str(tmp_path / "train.svm.bz2"), data, "--shape", "4x5"]) == 0
    assert main(["convert", str(tmp_path / "test.csv"), data, "--shape", "4x5", "--test"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{data}/train-images-idx3-ubyte: 20 images of 4 x 5"
    assert second == f"{data}/t10k-images-idx3-ubyte: 10 images of 4 x 5"
    for (X, y), (images, labels) in zip(load_mnist(data, raw=True), sets, strict=True):
        np.testing.assert_array_equal(X, images.reshape(len(images), -1))
        np.testing.assert_array_equal(y, labels)


@pytest.mark.parametrize("there", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_command_writes_over_nothing(capsys, tmp_path, there):
    (tmp_path / there).write_bytes(b"mine")
    (tmp_path / "text").write_bytes(b"7 1:1\n")
    assert main(["convert", str(tmp_path / "text"), str(tmp_path)]) == 2
    assert f"{there} is there already" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {there, "text"}


@pytest.mark.parametrize("shape", ["28", "0x28", "28x28x1", "-1x2", "10000x1", "x"])
def test_command_refuses_other_shapes(capsys, shape):
    with pytest.raises(SystemExit, match="2"):
        main(["convert", "text", "data", f"--shape={shape}"])
    assert f"--shape: must be rows and columns, such as 28x28, got {shape}" in capsys.readouterr().err


def test_command_tells_file_and_line(capsys, tmp_path):
    (tmp_path / "text").write_bytes(b"7 1:1\n8 1:0.5\n")
    assert main(["convert", str(tmp_path / "text"), str(tmp_path)]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line == f"fastml: error: {tmp_path}/text, line 2: found '1:0.5', {PIXEL}"
