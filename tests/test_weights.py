import io
import json
import os
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from fastml.weights import WeightsError, load_weights, save_weights

SETTINGS = {"model": "nn", "lr": 0.2, "note": "naïve"}
THETA = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def write_zip(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def refuse(path, match=None):
    with pytest.raises(WeightsError, match=match) as info:
        load_weights(path)
    assert str(path) in str(info.value)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("shapes", [[(4, 3)], [(4, 5), (5, 3)]])
@pytest.mark.parametrize("order", "CF")
def test_round_trip_keeps_every_bit(tmp_path, dtype, shapes, order):
    random = np.random.default_rng(0)
    weights = tuple(np.asarray(random.standard_normal(shape), dtype, order=order) for shape in shapes)
    weights[0][0] = [np.nan, np.inf, -0.0] + [0] * (shapes[0][1] - 3)
    save_weights(tmp_path / "weights.npz", weights, SETTINGS)
    found, settings = load_weights(tmp_path / "weights.npz")
    assert settings == SETTINGS
    for W, original in zip(found, weights, strict=True):
        assert W.dtype == original.dtype.newbyteorder("=")
        assert W.flags.c_contiguous
        assert W.flags.writeable
        np.testing.assert_array_equal(W, original)
        np.testing.assert_array_equal(np.signbit(W), np.signbit(original))


def test_file_is_an_ordinary_npz_and_the_same_each_time(tmp_path):
    save_weights(tmp_path / "a.npz", (THETA,), SETTINGS)
    save_weights(tmp_path / "b.npz", (THETA,), SETTINGS)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as archive:
        assert sorted(archive) == ["settings", "theta"]
        np.testing.assert_array_equal(archive["theta"], THETA, strict=True)
        assert json.loads(str(archive["settings"])) == SETTINGS


@pytest.mark.parametrize(
    ("weights", "settings", "error"),
    [
        ((), {}, TypeError),
        ((THETA, THETA), {}, ValueError),
        ((THETA, THETA.T, THETA), {}, TypeError),
        ((THETA.astype(int),), {}, TypeError),
        ((THETA[0],), {}, ValueError),
        ((THETA,), {"array": THETA}, TypeError),
    ],
)
def test_save_refuses_what_is_no_model(tmp_path, weights, settings, error):
    with pytest.raises(error):
        save_weights(tmp_path / "weights.npz", weights, settings)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_failed_save_leaves_the_old_file_whole(tmp_path, monkeypatch, failing, error):
    def fail(*arguments):
        raise error("no space left")

    path = tmp_path / "weights.npz"
    save_weights(path, (THETA,), SETTINGS)
    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(error, match="no space left"):
        save_weights(path, (2 * THETA,), {})
    assert list(tmp_path.iterdir()) == [path]
    (theta,), settings = load_weights(path)
    np.testing.assert_array_equal(theta, THETA)
    assert settings == SETTINGS


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="no device file")
def test_device_is_not_replaced():
    with pytest.raises(FileExistsError, match="not a regular file"):
        save_weights("/dev/null", (THETA,), {})


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({}, "it holds nothing"),
        ({"theta": THETA}, "it holds theta, not"),
        ({"settings": "{}"}, "it holds settings, not"),
        ({"settings": "{}", "theta": THETA, "W1": THETA}, "not settings and theta"),
        ({"settings": "{}", "W1": THETA, "W2": THETA}, "W2 must have 3 rows"),
        ({"settings": "{}", "W1": THETA, "W2": THETA.T.astype(float)}, "dtype"),
        ({"settings": "{}", "theta": THETA.astype(np.float16)}, "float32 or float64"),
        ({"settings": "{}", "theta": THETA.astype(np.int32)}, "float32 or float64"),
        ({"settings": "{}", "theta": THETA[None]}, "2-D"),
        ({"settings": "{}", "theta": THETA[:0]}, "not empty"),
        ({"settings": "{}", "theta": np.array([[THETA]], object)}, "pickled objects"),
        ({"settings": np.array([{}]), "theta": THETA}, "pickled objects"),
        ({"settings": "[1]", "theta": THETA}, "JSON object, got list"),
        ({"settings": "{", "theta": THETA}, "Expecting"),
        ({"settings": "[" * 10**5, "theta": THETA}, "recursion"),
    ],
)
def test_refuses_archives_of_anything_else(tmp_path, arrays, match):
    np.savez(tmp_path / "weights.npz", **arrays)
    refuse(tmp_path / "weights.npz", match)


def test_refuses_compressed_archives(tmp_path):
    np.savez_compressed(tmp_path / "weights.npz", theta=THETA, settings="{}")
    refuse(tmp_path / "weights.npz", "it is compressed")


@pytest.mark.parametrize("shape", [(2**40, 2**20), (4, 4), (-(2**40), 3), (2**70, 2**70)])
def test_header_that_claims_more_takes_no_memory(tmp_path, shape):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    members = {"theta.npy": header.getvalue() + THETA.tobytes(), "settings.npy": npy(np.array("{}"))}
    write_zip(tmp_path / "weights.npz", members)
    tracemalloc.start()
    refuse(tmp_path / "weights.npz", "claims an array of shape")
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def test_members_that_claim_more_than_the_file_are_refused(tmp_path):
    path = tmp_path / "weights.npz"
    write_zip(path, {"theta.npy": npy(THETA), "settings.npy": npy(np.array("{}"))})
    size = len(npy(THETA)).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (2**31).to_bytes(4, "little")))
    refuse(path, "more than its own size")


@pytest.mark.parametrize("zip64", [False, True])
def test_many_entries_are_refused_before_they_are_read(tmp_path, zip64):
    path = tmp_path / "weights.npz"
    write_zip(path, {"a": b""})
    whole = path.read_bytes()
    start = whole.index(b"PK\x01\x02")
    count, entry = 100_000, whole[start : whole.index(b"PK\x05\x06")]
    directory = entry * count
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(directory) % 2**32, start, 0)
    if zip64:
        record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(directory), start)
        end = record + struct.pack("<4sLQL", b"PK\x06\x07", 0, start + len(directory), 1) + end
    path.write_bytes(whole[:start] + directory + end)
    tracemalloc.start()
    refuse(path, f"its directory has {len(directory)} bytes, at most 16384 are accepted")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_refuses_a_newer_version_of_the_array_format(tmp_path):
    later = bytearray(npy(THETA))
    later[6] = 2
    write_zip(tmp_path / "weights.npz", {"theta.npy": bytes(later), "settings.npy": npy(np.array("{}"))})
    refuse(tmp_path / "weights.npz", r"version \(2, 0\)")


def test_refuses_every_truncation(tmp_path):
    path = tmp_path / "weights.npz"
    save_weights(path, (THETA,), SETTINGS)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        refuse(path)


@pytest.mark.filterwarnings("default")  # NumPy and zipfile warn of some of the damages
def test_damaged_byte_is_refused_or_does_no_harm(tmp_path):
    path = tmp_path / "weights.npz"
    save_weights(path, (THETA,), SETTINGS)
    whole = path.read_bytes()
    refused = 0
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        try:
            (theta,), settings = load_weights(path)
        except WeightsError:
            refused += 1
        else:
            np.testing.assert_array_equal(theta, THETA, strict=True)
            assert settings == SETTINGS
    assert refused > 0.8 * len(whole)


@pytest.mark.parametrize(("name", "error"), [("missing.npz", FileNotFoundError), (".", OSError)])
def test_unreadable_file_stays_an_os_error(tmp_path, name, error):
    with pytest.raises(error):
        load_weights(tmp_path / name)
