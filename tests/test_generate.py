import errno
import os
import signal
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from fastml.cli import main
from fastml.datasets import deform, generate, generate_mnist, load_mnist, open_idx
from tests import bits

NAMES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
PART = f"{NAMES[0]}.part"
ORIGINALS, PIECE, COUNT = 50, 16, 333


def small_mnist(data_dir=None, *, raw):
    random = np.random.default_rng(0)
    return tuple(
        (random.integers(0, 256, (count, 784), np.uint8), random.integers(0, 10, count, np.uint8))
        for count in (ORIGINALS, 7)
    )


(X, Y), (X_TEST, Y_TEST) = small_mnist(raw=True)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(generate, "load_mnist", small_mnist)
    monkeypatch.setattr(generate, "PIECE", PIECE)


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def whole(tmp_path):
    """What an undisturbed run writes."""
    generate_mnist(tmp_path / "whole", COUNT, seed=3)
    return contents(tmp_path / "whole")


def stop_at(number, error=KeyboardInterrupt):
    """A progress callback that raises where so many images are written."""

    def progress(done, count):
        assert count == COUNT
        if done >= number:
            raise error

    return progress


def test_originals_first_then_their_deformations(tmp_path, whole):
    (images, labels), test = load_mnist(tmp_path / "whole", raw=True)
    assert sorted(whole) == sorted(NAMES)
    np.testing.assert_array_equal(images[:ORIGINALS], X)
    numbers = np.arange(ORIGINALS, COUNT)
    deformed = deform(X.reshape(-1, 28, 28), numbers, seed=3)
    np.testing.assert_array_equal(open_idx(tmp_path / "whole" / NAMES[0])[ORIGINALS:], deformed)
    np.testing.assert_array_equal(labels, Y[np.arange(COUNT) % ORIGINALS])
    for found, expected in zip(test, (X_TEST, Y_TEST), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("count", [1, PIECE, ORIGINALS, ORIGINALS + 1, 2 * PIECE])
def test_any_count(tmp_path, whole, count):
    generate_mnist(tmp_path / "some", count, seed=3)
    found = contents(tmp_path / "some")
    assert found[NAMES[0]][16:] == whole[NAMES[0]][16 : 16 + 784 * count]
    assert len(open_idx(tmp_path / "some" / NAMES[0])) == count


@pytest.mark.parametrize("shards", [1, 3, 8])
def test_shards_are_the_set_cut_in_order(tmp_path, whole, shards):
    progress = []
    generate_mnist(tmp_path / "cut", COUNT, 3, lambda *call: progress.append(call), shards)
    pairs = generate.shard_names(tmp_path / "cut")
    assert len(pairs) == shards
    assert sorted(contents(tmp_path / "cut")) == sorted([name for pair in pairs for name in pair] + NAMES[2:])
    for column, name in enumerate(NAMES[:2]):
        joined = np.concatenate([open_idx(tmp_path / "cut" / pair[column]) for pair in pairs])
        np.testing.assert_array_equal(joined, open_idx(tmp_path / "whole" / name))
    assert progress == sorted(progress)
    assert progress[-1] == (COUNT, COUNT)


def test_interrupted_shards_are_gone_on_with(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        generate_mnist(tmp_path / "cut", COUNT, 3, stop_at(200), 3)
    assert generate.shard_names(tmp_path / "cut") == []
    for _ in range(2):
        generate_mnist(tmp_path / "cut", COUNT, 3, None, 3)
    generate_mnist(tmp_path / "at once", COUNT, 3, None, 3)
    assert contents(tmp_path / "cut") == contents(tmp_path / "at once")
    (tmp_path / "cut" / f"{NAMES[1]}-00001-of-00003").unlink()
    with pytest.raises(FileNotFoundError, match="but not train-labels-idx1-ubyte-00001-of-00003"):
        generate.shard_names(tmp_path / "cut")
    generate_mnist(tmp_path / "cut", COUNT, 3, None, 4)
    with pytest.raises(ValueError, match="holds several sets, of 00003 and 00004 shards"):
        generate.shard_names(tmp_path / "cut")


@pytest.mark.parametrize("number", [0, PIECE, 5 * PIECE, COUNT])
def test_interrupted_and_resumed_gives_the_same(tmp_path, whole, monkeypatch, number):
    directory = tmp_path / "some"
    with pytest.raises(KeyboardInterrupt):
        generate_mnist(directory, COUNT, seed=3, progress=stop_at(number))
    assert list(contents(directory)) == [PART]
    made = (directory / PART).stat().st_size // 784
    assert made >= number

    calls = []
    generate_mnist(directory, COUNT, seed=3, progress=lambda done, count: calls.append(done))
    assert calls[0] == made
    assert calls[-1] == COUNT
    assert contents(directory) == whole


@pytest.mark.parametrize("cut", [0, 10, 15, 16, 17, 16 + 784, 16 + 100 * 784 + 1, 16 + 100 * 784 + 783])
def test_any_beginning_is_gone_on_with(tmp_path, whole, cut):
    directory = tmp_path / "some"
    directory.mkdir()
    (directory / PART).write_bytes(whole[NAMES[0]][:cut])
    calls = []
    generate_mnist(directory, COUNT, seed=3, progress=lambda done, count: calls.append(done))
    assert calls[0] == max(0, cut - 16) // 784
    assert contents(directory) == whole


@pytest.mark.parametrize("damage", ["seed", "count", "zeros at the end", "too long", "garbage"])
def test_another_part_is_begun_anew(tmp_path, whole, damage):
    directory = tmp_path / "some"
    if damage in ("seed", "count"):
        count, seed = (COUNT, 4) if damage == "seed" else (COUNT + 1, 3)
        generate_mnist(directory, count, seed)
        (directory / NAMES[0]).rename(directory / PART)
        for name in NAMES[1:]:
            (directory / name).unlink()
    else:
        directory.mkdir()
        half = whole[NAMES[0]][: 16 + 784 * 100]
        damaged = {
            "zeros at the end": half[:-784] + bytes(784),
            "too long": whole[NAMES[0]] + bytes(784),
            "garbage": b"garbage" * 1000,
        }
        (directory / PART).write_bytes(damaged[damage])
    generate_mnist(directory, COUNT, seed=3)
    assert contents(directory) == whole


def test_what_is_there_already_is_left_as_it_is(tmp_path, whole):
    directory = tmp_path / "whole"
    before = {name: (directory / name).stat().st_mtime_ns for name in NAMES}
    generate_mnist(directory, COUNT, seed=3)
    assert {path.name: path.stat().st_mtime_ns for path in directory.iterdir()} == before
    (directory / NAMES[3]).unlink()
    generate_mnist(directory, COUNT, seed=3)
    assert contents(directory) == whole


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("position", [0, -1])
def test_what_is_somebody_else_s_is_refused(tmp_path, whole, name, position):
    path = tmp_path / "whole" / name
    data = bytearray(whole[name])
    data[position] ^= 1
    path.write_bytes(data)
    before = contents(path.parent)
    with pytest.raises(ValueError if position == 0 and name != NAMES[0] else FileExistsError, match=str(path)):
        generate_mnist(path.parent, COUNT, seed=3)
    assert contents(path.parent) == before


def test_whole_images_with_something_behind_them_are_refused(tmp_path, whole):
    path = tmp_path / "whole" / NAMES[0]
    path.write_bytes(whole[NAMES[0]] + b"more")
    with pytest.raises(FileExistsError, match=str(path)):
        generate_mnist(path.parent, COUNT, seed=3)
    assert path.read_bytes() == whole[NAMES[0]] + b"more"


@pytest.mark.parametrize(("count", "seed"), [(COUNT, 4), (COUNT - 1, 3), (COUNT + 1, 3)])
def test_another_count_or_seed_does_not_replace_a_whole_set(tmp_path, whole, count, seed):
    with pytest.raises(FileExistsError, match="exists and holds other data; move it away"):
        generate_mnist(tmp_path / "whole", count, seed)
    assert contents(tmp_path / "whole") == whole


def test_killed_and_resumed_gives_the_same(tmp_path, whole):
    output = bits.end_python(bits.start_python("-m", "tests.test_generate", str(tmp_path / "some")))
    assert output == (-signal.SIGKILL, "", "")
    assert list(contents(tmp_path / "some")) == [PART]
    generate_mnist(tmp_path / "some", COUNT, seed=3)
    assert contents(tmp_path / "some") == whole


def die(directory):
    """In a process of its own: be killed while a piece is written."""
    generate.load_mnist, generate.PIECE = small_mnist, PIECE
    generate_mnist(
        directory, COUNT, seed=3, progress=lambda done, count: done > 100 and os.kill(os.getpid(), signal.SIGKILL)
    )


def test_full_disk_ends_in_one_line_and_leaves_nothing_that_looks_whole(tmp_path, whole, capsys):
    resource = pytest.importorskip("resource", reason="no limits of file sizes on this system")
    directory = tmp_path / "some"
    argv = ["generate", str(directory), "--count", str(COUNT), "--seed", "3"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        assert main(argv) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line == f"fastml: error: [Errno {errno.EFBIG}] File too large: '{directory / PART}'"
    assert {name: len(data) for name, data in contents(directory).items()} == {PART: 100_000}
    assert main(argv) == 0
    assert contents(directory) == whole


def test_space_is_asked_for_before_anything_is_made(tmp_path, monkeypatch):
    asked = []
    free = 16 + 784 * COUNT + COUNT + X_TEST.nbytes + Y_TEST.nbytes
    usage = SimpleNamespace(free=free - 1)
    monkeypatch.setattr("shutil.disk_usage", lambda path: asked.append(path) or usage)
    with pytest.raises(OSError, match=r"0\.00 GB are needed, 0\.00 GB are free"):
        generate_mnist(tmp_path / "some", COUNT)
    assert asked == [tmp_path]
    assert not contents(tmp_path)
    usage.free = free
    generate_mnist(tmp_path / "some", COUNT)


def test_a_part_counts_as_space(tmp_path, monkeypatch, whole):
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / PART).write_bytes(whole[NAMES[0]][:200_000])
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=100_000))
    generate_mnist(tmp_path / "some", COUNT, seed=3)
    assert contents(tmp_path / "some") == whole


def test_two_at_once(tmp_path, whole):
    pytest.importorskip("fcntl", reason="no locks on this system")
    directory = tmp_path / "some"

    def second(done, count):
        if done:
            with pytest.raises(BlockingIOError, match=f"another process is writing there: .*{directory}"):
                generate_mnist(directory, COUNT, seed=4)

    generate_mnist(directory, COUNT, seed=3, progress=second)
    assert contents(directory) == whole


def test_a_second_one_at_the_end_of_the_first(tmp_path, whole, monkeypatch):
    pytest.importorskip("fcntl", reason="no locks on this system")
    directory, replace = tmp_path / "some", os.replace

    def second(source, target):
        if os.fspath(source).endswith(PART):
            with pytest.raises(BlockingIOError):
                generate_mnist(directory, COUNT, seed=4)
        replace(source, target)

    monkeypatch.setattr(os, "replace", second)
    generate_mnist(directory, COUNT, seed=3)
    assert contents(directory) == whole


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"count": 0}, "count must be at least 1"),
        ({"count": 2**32}, "count must be at most 4294967295, the largest dimension of IDX"),
        ({"count": 1, "seed": -1}, "seed must be at least 0"),
        ({"count": 9, "shards": 0}, "shards must be at least 1"),
        ({"count": 9, "shards": 10}, "shards must be at most 9"),
    ],
)
def test_wrong_arguments(tmp_path, arguments, match):
    with pytest.raises(ValueError, match=match):
        generate_mnist(tmp_path / "some", **arguments)
    assert not contents(tmp_path)


def test_command_says_where_and_draws(tmp_path, whole, capsys):
    directory, picture = tmp_path / "some", tmp_path / "sheet.png"
    argv = ["generate", str(directory), "--count", str(COUNT), "--seed", "3", "--plot", str(picture)]
    assert main(argv) == 0
    assert capsys.readouterr().out.startswith(f"{directory} holds {COUNT} training images and MNIST's test set; ")
    assert contents(directory) == whole
    assert main(["generate", str(tmp_path / "cut"), "--count", str(COUNT), "--shards", "2"]) == 0
    assert len(contents(tmp_path / "cut")) == 6
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("argv", "match"),
    [
        (["generate"], "required: DIR, --count"),
        (["generate", "x", "--count", "0"], "--count: must be a whole number from 1 to 4294967295, got 0"),
        (["generate", "x", "--count", "1", "--seed", "-1"], "--seed: must be from 0 to 18446744073709551615"),
        (["generate", "x", "--count", "1", "--plot", "x.txt"], "--plot: must end in .png or .svg or .pdf"),
    ],
)
def test_wrong_arguments_of_the_command(capsys, argv, match):
    with pytest.raises(SystemExit, match="2"):
        main(argv)
    assert match in capsys.readouterr().err


def test_directory_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "missing" / "some"):
        assert main(["generate", str(place), "--count", "10"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert str(tmp_path) in line
    assert contents(tmp_path) == {"file": b"mine"}


if __name__ == "__main__":
    die(sys.argv[1])
