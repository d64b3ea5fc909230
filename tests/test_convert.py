import bz2
import gzip
import io
import lzma
import os
import re
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import dump_svmlight_file

from fastml.cli import main
from fastml.datasets import convert as converting
from fastml.datasets import lines, load_mnist, read_idx
from fastml.datasets.convert import ConvertError, Layout, convert, format_of
from fastml.datasets.streams import WholeStream
from fastml.datasets.text_formats import is_head

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
    monkeypatch.setattr(lines, "BLOCK_BYTES", block)  # text in many blocks, and in one
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
        (b"\xef\xbb\xbf7 1:255 6:9\n3 2:1\n", "libsvm"),
        (b"7 1:255 6:9\r3 2:1", "libsvm"),  # carriage returns alone
        (b"# first\n7 1:255 6:9 # 2:3\n # \n3 2:1# x\n#", "libsvm"),
        (b"7.0 1:2.55e2 6:900e-2\n3e0 2:1.0\n", "libsvm"),
        (b"0.7e+1 1:25500000000000000000000e-20 6:9.\n30E-1 2:1\n", "libsvm"),
        (b"\xef\xbb\xbflabel,a,b,c,d,e,f\r\n7,255,0,0,0,0,9\r\n3,0,1,0,0,0,0\r\n", "csv"),
        (b"label,a,b,c,d,e,f\r7,255,0,0,0,0,9\r3,0,1,0,0,0,0\r", "csv"),
        (b'"7","255","0","0","0","0","9"\n"3", "0" ,"1","0","0","0","0"\n', "csv"),
        (b"7.0,255.0,0.0,0,0,0,9.0\n3,0,1e0,0,0,0,0\n", "csv"),
        (b"a,b,c,d,e,f,class\n255,0,0,0,0,9,7\n0,1,0,0,0,0,3\n", "csv"),  # OpenML's order
        (b",label,0,1,2,3,4,5\n0,7,255,0,0,0,0,9\n1,3,0,1,0,0,0,0\n", "csv"),  # an index of pandas
        (b'id,a,b,c,d,e,f,Label\nx,255,0,0,0,0,9,7\n"y",0,1,0,0,0,0,3\n', "csv"),
        (b"\n\nlabel\n7,255,0,0,0,0,9\n3,0,1,0,0,0,0\n", "csv"),
    ],
)
def test_what_is_accepted(paths, text, text_format):
    X, y = converted(paths, text, text_format=text_format)
    assert y.tolist() == [7, 3]
    assert X.reshape(2, 6).tolist() == [[255, 0, 0, 0, 0, 9], [0, 1, 0, 0, 0, 0]]


LABEL = "a label is an integer from 0 to 255"
INDEX = "a pixel is index:value with an index from 1 to 6"
GROW = "the indices of a line must increase"
PIXEL = "the value of a pixel is an integer from 0 to 255"


@pytest.mark.parametrize("lines_before", [0, 3, 100])
@pytest.mark.parametrize(
    ("text_format", "line", "found", "need"),
    [
        ("libsvm", "256 1:1", "'256'", LABEL),
        ("libsvm", "-1 1:1", "'-1'", LABEL),
        ("libsvm", "+1 1:1", "'[+]1'", LABEL),
        ("libsvm", "nan 1:1", "'nan'", LABEL),
        ("libsvm", "1,2 1:1", "'1,2'", LABEL),
        ("libsvm", "1:1 2:2", "'1:1'", LABEL),
        ("libsvm", "18446744073709551617 1:1", "'18446744073709551617'", LABEL),
        ("libsvm", "7 qid:3 1:1", "'qid:3'", INDEX),
        ("libsvm", "7 0:1", "'0:1'", INDEX + "; --zero-based if indices begin at 0"),
        ("libsvm", "1.5 1:1", "'1.5'", LABEL),
        ("libsvm", "2.56e2 1:1", "'2.56e2'", LABEL),
        ("libsvm", "7x 1:1", "'7x'", LABEL),
        ("libsvm", "7 1:1e", "'1:1e'", PIXEL),
        ("libsvm", "7 1:1e-", "'1:1e-'", PIXEL),
        ("libsvm", "7 1:1e1000", "'1:1e1000'", PIXEL),
        ("libsvm", "7 1:255.00001", "'1:255.00001'", PIXEL),
        ("libsvm", "7 1:.5", "'1:.5'", PIXEL + "; --scale 255 for pixels in \\[0, 1\\]"),
        ("libsvm", "7 -1:1", "'-1:1'", INDEX),
        ("libsvm", "7 1:1 7:1", "'7:1'", INDEX),
        ("libsvm", "7 4294967297:1", "'4294967297:1'", INDEX),
        ("libsvm", "7 1", "'1'", INDEX),
        ("libsvm", "7 :1", "':1'", INDEX),
        ("libsvm", "7 1 :1", "'1'", INDEX),
        ("libsvm", "7 2:1 2:1", "'2:1'", GROW),
        ("libsvm", "7 2:1 1:1", "'1:1'", GROW),
        ("libsvm", "7 1:256", "'1:256'", PIXEL),
        ("libsvm", "7 1:-1", "'1:-1'", PIXEL),
        ("libsvm", "7 1:0.5", "'1:0.5'", PIXEL + "; --scale 255 for pixels in \\[0, 1\\]"),
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
        ("csv", "7,0,0,0.5,0,0,0", "'0.5'", PIXEL + "; --scale 255 for pixels in \\[0, 1\\]"),
        ("csv", '7,0,0,"1,0,0,0', "'\"1'", PIXEL),
        ("csv", '7,0,0,1",0,0,0', "'1\"'", PIXEL),
        ("csv", "7,0,0,,0,0,0", "''", PIXEL),
        ("csv", "7,0,0,0,0,0,", "''", PIXEL),
        ("csv", "7,0,0,1 2,0,0,0", "'1 2'", PIXEL),
        (
            "csv",
            "7,0,0,0,0,0",
            "6 columns",
            "need 7: a label, 6 pixels; if the label column is missing, --no-labels writes images alone",
        ),
        ("csv", "7", "1 columns", "need 7: a label, 6 pixels"),
        ("csv", "7,0,0,0,0,0,0,0", "8 columns", "need 7: a label, 6 pixels; --index-column leaves a column out"),
        ("csv", "7,0,0,0,0,0,0,0,0", "9 columns", "need 7: a label, 6 pixels"),
    ],
)
def test_errors_name_the_line(monkeypatch, paths, text_format, line, found, need, lines_before):
    monkeypatch.setattr(lines, "BLOCK_BYTES", 64)
    monkeypatch.setattr(converting, "LINE_BYTES_PER_PIXEL", 200)
    before = WRITE[text_format](*examples(lines_before - 1)) if lines_before else b""
    if text_format == "libsvm" and lines_before:
        before = b"\n" + before
    refuse(
        paths, before + line.encode(), rf", line {lines_before + 1}: found {found}, {need}$", text_format=text_format
    )


def test_first_line_of_names_is_the_first_alone(monkeypatch, paths):
    monkeypatch.setattr(lines, "BLOCK_BYTES", 12)  # the third line begins a block
    refuse(paths, b"label,a\n7,0,0,0,0,0,0\nlabel,a\n", "line 3: found 'label'", text_format="csv")
    match = "line 1: found the names pixel0, pixel1 and no label column; name it with --label-column, or write images"
    refuse(paths, b"pixel0,pixel1\n0,0,0,0,0,0\n", match, text_format="csv")


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


def zipped(*texts):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for i, text in enumerate(texts):
            file.writestr(f"{i}.csv", text)
    return archive.getvalue()


def test_the_only_file_of_an_archive(monkeypatch, paths):
    monkeypatch.setattr(lines, "BLOCK_BYTES", 64)
    X, y = examples(50)
    found = converted(paths, zipped(csv(X, y)), text_format="csv")
    for array, expected in zip(found, (X, y), strict=True):
        np.testing.assert_array_equal(array, expected)
    for path in paths:
        path.unlink()
    refuse(paths, zipped(b"1,2", b"3,4"), "found 2 files in the archive, need one", text_format="csv")
    refuse(paths, zipped(csv(X, y))[:-30], "damaged compressed stream", text_format="csv")


@pytest.mark.parametrize("trailing", [b"x", b"\1", b"BZ", b"BZhx" * 10, b"\xfd7zXZ", b"7 1:1\n"])
@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_bytes_after_a_compressed_stream_are_refused(paths, compress, trailing):
    refuse(paths, compress(b"7 1:1\n") + trailing, "damaged compressed stream")


def test_zeros_after_a_compressed_stream(paths):
    refuse(paths, bz2.compress(b"7 1:1\n") + b"\0", "damaged compressed stream")
    for compress in (gzip.compress, lzma.compress):  # whose definitions allow padding
        assert converted(paths, compress(b"7 1:1\n") + bytes(8))[1].tolist() == [7]


@pytest.mark.parametrize(
    ("text", "layout", "X", "y"),
    [
        ("1,2,3,4,5,6,7", Layout(label_column=-1), [1, 2, 3, 4, 5, 6], 7),
        ("1,2,3,4,5,6,7", Layout(label_column=2), [1, 2, 4, 5, 6, 7], 3),
        ("a,b,c,d,e,f,g\n1,2,3,4,5,6,7", Layout(label_column="C"), [1, 2, 4, 5, 6, 7], 3),
        ("9,1,2,3,4,5,6,7", Layout(index_column=0), [2, 3, 4, 5, 6, 7], 1),
        ("1,2,3,4,5,6,7,x y", Layout(index_column=-1), [2, 3, 4, 5, 6, 7], 1),
        ("1,2,3,4,5,6,x,7", Layout(index_column=6, label_column=7), [1, 2, 3, 4, 5, 6], 7),
        ("7,0,1,0.5,0.001,0.2,0.998", Layout(scale=255), [0, 255, 128, 0, 51, 254], 7),
    ],
)
def test_layouts_of_csv(paths, text, layout, X, y):
    images, labels = converted(paths, text.encode(), text_format="csv", layout=layout)
    assert (images.ravel().tolist(), labels.tolist()) == (X, [y])


@pytest.mark.parametrize(
    ("text", "layout", "match"),
    [
        ("1,2,3,4,5,6,7", Layout(label_column=7), "line 1: found 7 columns, so the label column cannot be 7"),
        ("a,b\n", Layout(label_column="c"), "line 1: found no label column 'c', but a, b"),
        ("1,2,3,4,5,6,7", Layout(label_column=1, index_column=1), "line 1: column 1 is both the label column"),
        ("7,0,1,1.01,0,0,0", Layout(scale=255), "line 1: found '1.01', the value of a pixel"),
    ],
)
def test_layouts_that_a_text_does_not_have(paths, text, layout, match):
    refuse(paths, text.encode(), match, text_format="csv", layout=layout)


@pytest.mark.parametrize(
    "text", ["p0,p1,p2,p3,p4,p5\n1,2,3,4,5,6\n", "1,2,3,4,5,6\n", "id,a,b,c,d,e,f\n9,1,2,3,4,5,6\n"]
)
def test_images_without_labels(paths, text):
    source, images, _ = paths
    source.write_text(text)
    assert convert(source, images, None, shape=SHAPE, text_format="csv") == 1
    assert read_idx(images).ravel().tolist() == [1, 2, 3, 4, 5, 6]
    assert set(source.parent.iterdir()) == {source, images}
    with pytest.raises(ValueError, match="labels must be a file for LIBSVM text"):
        convert(source, images, None)


@pytest.mark.parametrize("comment", ["", "as it should be"])
def test_files_of_scikit_learn_begin_at_0(paths, comment):
    X, y = examples(30)
    file = io.BytesIO()
    dump_svmlight_file(X.reshape(30, -1).astype(float), y, file, comment=comment)
    found = converted(paths, file.getvalue(), layout=Layout(zero_based=True))
    for array, expected in zip(found, (X, y), strict=True):
        np.testing.assert_array_equal(array, expected)
    if comment:
        for path in paths:
            path.unlink()
        refuse(paths, file.getvalue(), "line 2: found '# Column indices are zero-based', so --zero-based is needed")
    one_based = io.BytesIO()
    dump_svmlight_file(X.reshape(30, -1).astype(float), y, one_based, zero_based=False, comment=comment)
    np.testing.assert_array_equal(converted(paths, one_based.getvalue())[0], X)


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

    monkeypatch.setattr(WholeStream, "readinto", fail)
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
    """The examples of a text as Python's float and split find them, or None if there is an error."""
    rows = []
    lines = list(filter(str.strip, text.replace("\r", "\n").replace("\t", " ").split("\n")))
    if text_format == "csv" and lines:
        names = [name.strip(' "').lower() for name in lines[0].split(",")]
        if is_head(names):
            if names[0] != "label":
                return None
            lines = lines[1:]
    for line in lines:
        try:
            if text_format == "libsvm":
                line = line.partition("#")[0]
                if not line.strip():
                    continue
            fields = line.split() if text_format == "libsvm" else [field.strip(" ") for field in line.split(",")]
            if not all(re.fullmatch(r"[0-9]+(\.[0-9]*)?", part) for field in fields for part in field.split(":")):
                return None
            if any("." in field.partition(":")[0] for field in fields[1:] if ":" in field):
                return None
            if any(float(part) % 1 for field in fields for part in field.split(":")):
                return None
            fields = [":".join(part.partition(".")[0] for part in field.split(":")) for field in fields]
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
    monkeypatch.setattr(lines, "BLOCK_BYTES", 1000)
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
        ("TRAIN.CSV", "csv"),
        ("train.csv.zip", "csv"),
        ("Train.Csv.GZ", "csv"),
        ("train.csv.txt", "libsvm"),
        (".csv", "libsvm"),
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
    first, hint, second = capsys.readouterr().out.splitlines()
    assert "--zero-based" in hint
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
    assert f"{there} exists already" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {there, "text"}


def test_command_makes_its_directory_and_writes_images_alone(capsys, tmp_path):
    (tmp_path / "test.csv").write_text("pixel0,pixel1\n3,4\n")
    new, command = tmp_path / "new", ["convert", str(tmp_path / "test.csv"), str(tmp_path / "new"), "--shape", "1x2"]
    assert main(command) == 2
    assert (
        "no label column; name it with --label-column, or write images alone with --no-labels"
        in capsys.readouterr().err
    )
    assert not new.exists()
    assert main([*command, "--no-labels", "--test"]) == 0
    assert capsys.readouterr().out == f"{new}/t10k-images-idx3-ubyte: 1 images of 1 x 2\n"
    assert read_idx(new / "t10k-images-idx3-ubyte").tolist() == [[[3, 4]]]
    assert list(new.iterdir()) == [new / "t10k-images-idx3-ubyte"]


def test_options_of_the_command(tmp_path):
    (tmp_path / "a.csv").write_text("0.2,1,0\n0,0.4,1\n")
    (tmp_path / "b").write_text("7 0:255\n8 1:51\n")
    argv = [
        "convert",
        str(tmp_path / "a.csv"),
        str(tmp_path),
        "--shape",
        "1x2",
        "--label-column",
        "-1",
        "--scale",
        "255",
    ]
    assert main(argv) == 0
    assert main(["convert", str(tmp_path / "b"), str(tmp_path), "--test", "--shape", "1x2", "--zero-based"]) == 0
    (X, y), (X_test, y_test) = load_mnist(tmp_path, raw=True)
    assert (X.tolist(), y.tolist()) == ([[51, 255], [0, 102]], [0, 1])
    assert (X_test.tolist(), y_test.tolist()) == ([[255, 0], [0, 51]], [7, 8])


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("a.csv", ["--zero-based"], "--zero-based needs --format libsvm, got csv"),
        ("a", ["--label-column", "0"], "--label-column needs --format csv, got libsvm"),
        ("a", ["--index-column", "id"], "--index-column needs --format csv"),
        ("a", ["--no-labels"], "--no-labels needs --format csv"),
        ("a.csv", ["--no-labels", "--label-column", "1"], "--no-labels and --label-column cannot both be given"),
    ],
)
def test_options_of_the_other_format_are_refused(capsys, tmp_path, name, options, match):
    assert main(["convert", str(tmp_path / name), str(tmp_path / "new"), *options]) == 2
    assert match in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", ["28", "0x28", "28x28x1", "-1x2", "10000x1", "x"])
def test_command_refuses_other_shapes(capsys, shape):
    with pytest.raises(SystemExit, match="2"):
        main(["convert", "text", "data", f"--shape={shape}"])
    assert f"--shape: must be rows and columns, such as 28x28, got {shape}" in capsys.readouterr().err


def test_command_tells_file_and_line(capsys, tmp_path):
    (tmp_path / "text").write_bytes(b"7 1:1\n8 1:0.5\n")
    assert main(["convert", str(tmp_path / "text"), str(tmp_path)]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line == f"fastml: error: {tmp_path}/text, line 2: found '1:0.5', {PIXEL}; --scale 255 for pixels in [0, 1]"
