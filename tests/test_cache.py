"""The cache of machine code: used by the next process, never stale, and no error where it is damaged or can't be."""

import json
import pickle
import shutil
import zipfile
from pathlib import Path

import numba
import numpy as np
import pytest

import fastml
from fastml.kernels.compile import options
from tests import bits

DTYPES = ("float32", "float64")


@pytest.fixture(scope="module")
def compiled():
    """Compile in this process whatever `bits` needs and is not in the cache."""
    return bits.digests()


@pytest.mark.parametrize("seed", ["0", "1", "random"])
def test_another_process_compiles_nothing(seed, compiled):
    found = json.loads(bits.run_python("-m", "tests.bits", PYTHONHASHSEED=seed))
    assert found["compiled"] == []
    assert found["digests"] == compiled


# A kernel whose helper is in another file: Numba alone looks at the file of the kernel.
KERNEL = """
from fastml.kernels.factor import times
from fastml.kernels.compile.options import kernel


@kernel
def scale(values):
    for i in range(values.size):
        values[i] = times(values[i])
"""
HELPER = """
from fastml.kernels.compile.options import helper


@helper
def times(value):
    return value * 2
"""
SCRIPT = """
import json
import numpy as np
from fastml.kernels.scaled import scale

values = np.array([1.0])
scale(values)
print(json.dumps([values.tolist(), sum(scale.stats.cache_hits.values())]))
"""


@pytest.fixture
def copy(tmp_path):
    """Copy the package, without its data and its cache, and add a kernel that is compiled in no time."""
    package = Path(fastml.__file__).parent
    shutil.copytree(package, tmp_path / "fastml", ignore=shutil.ignore_patterns("__pycache__", "data"))
    (tmp_path / "fastml/kernels/scaled.py").write_text(KERNEL)
    (tmp_path / "fastml/kernels/factor.py").write_text(HELPER)
    return tmp_path


def run_copy(copy, script=SCRIPT, **environment):
    """Return what the kernel of a copy computes in a process of its own, and whether it came from the cache."""
    environment.setdefault("NUMBA_CACHE_DIR", str(copy / "cache"))
    return json.loads(
        bits.run_python("-W", "error", "-c", script, directory=copy, PYTHONDONTWRITEBYTECODE="1", **environment)
    )


def test_a_changed_helper_in_another_file_is_compiled_anew(copy):
    assert [run_copy(copy), run_copy(copy)] == [[[2.0], 0], [[2.0], 1]]
    helper = copy / "fastml/kernels/factor.py"
    helper.write_text(HELPER.replace("2", "3"))
    assert [run_copy(copy), run_copy(copy)] == [[[3.0], 0], [[3.0], 1]]
    helper.write_text(HELPER)
    assert run_copy(copy)[0] == [2.0]


def test_changed_options_compile_anew(copy):
    assert [run_copy(copy), run_copy(copy)] == [[[2.0], 0], [[2.0], 1]]
    options = copy / "fastml/kernels/compile/options.py"
    changed = options.read_text().replace('"error_model": "numpy"', '"error_model": "python"')
    assert changed != options.read_text()
    options.write_text(changed)
    assert run_copy(copy) == [[2.0], 0]


def test_a_directory_that_can_not_be_made_is_not_used(copy):
    (copy / "file").write_text("")
    environment = {"NUMBA_CACHE_DIR": str(copy / "file")}
    # The next place is that of the package.
    assert [run_copy(copy, **environment), run_copy(copy, **environment)] == [[[2.0], 0], [[2.0], 1]]
    assert list((copy / "fastml/kernels/__pycache__").glob("scaled.scale-*.nbi"))


def test_without_any_directory_every_process_compiles(copy):
    (copy / "file").write_text("")
    # Files where directories should be can't be written to by anybody, root neither.
    (copy / "fastml/kernels/__pycache__").write_text("")
    environment = {name: str(copy / "file") for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME")}
    for _ in range(2):
        assert run_copy(copy, **environment) == [[2.0], 0]


def run_zip(copy, python):
    """Put the package of a copy into a zip file, as source or as bytecode, and run its kernel from there."""
    archive = copy / "fastml.zip"
    with zipfile.PyZipFile(archive, "w") as file:
        if python == "bytecode":
            file.writepy(copy / "fastml", filterfunc=lambda path: True)
        else:
            for path in copy.glob("fastml/**/*.py"):
                file.write(path, path.relative_to(copy))
    script = f"import sys; sys.path.insert(0, {str(archive)!r})\n{SCRIPT}"
    environment = {"XDG_CACHE_HOME": str(copy / "home"), "HOME": str(copy / "home"), "NUMBA_CACHE_DIR": ""}
    return run_copy(copy / "home", script, **environment)


@pytest.fixture
def zipped(copy):
    (copy / "home").mkdir()
    for path in copy.glob("fastml/**/__pycache__"):
        shutil.rmtree(path)
    return copy


def test_in_a_zip_file_a_changed_helper_is_compiled_anew(zipped):
    assert [run_zip(zipped, "source"), run_zip(zipped, "source")] == [[[2.0], 0], [[2.0], 1]]
    (zipped / "fastml/kernels/factor.py").write_text(HELPER.replace("2", "3"))
    assert [run_zip(zipped, "source"), run_zip(zipped, "source")] == [[[3.0], 0], [[3.0], 1]]


def test_without_source_nothing_is_kept(zipped):
    assert [run_zip(zipped, "bytecode"), run_zip(zipped, "bytecode")] == [[[2.0], 0]] * 2


def test_a_full_disk_is_survived(copy):
    pytest.importorskip("resource", reason="no limits of file sizes on this system")
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))\n" + SCRIPT
    assert [run_copy(copy, limited) for _ in range(2)] == [[[2.0], 0]] * 2
    assert [run_copy(copy), run_copy(copy)] == [[[2.0], 0], [[2.0], 1]]


def test_eight_processes_that_begin_at_once_without_a_cache(copy):
    environment = {"NUMBA_CACHE_DIR": str(copy / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    started = [bits.start_python("-c", SCRIPT, directory=copy, **environment) for _ in range(8)]
    ended = [bits.end_python(process) for process in started]
    assert [status for status, _, _ in ended] == [0] * 8, ended
    assert {json.loads(output)[0][0] for _, output, _ in ended} == {2.0}
    assert run_copy(copy) == [[2.0], 1]


def double(values):
    for i in range(values.size):
        values[i] *= 2


def use_cache():
    """Return for each dtype whether the machine code of a new kernel comes from the cache; its results must be right.

    A new dispatcher knows of the cache what a new process does.
    """
    kernel = options.kernel(double)
    found = []
    for dtype in DTYPES:
        hits = sum(kernel.stats.cache_hits.values())
        values = np.arange(5, dtype=dtype)
        kernel(values)
        np.testing.assert_array_equal(values, 2 * np.arange(5, dtype=dtype))
        found.append(sum(kernel.stats.cache_hits.values()) > hits)
    return found


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """Return the directory of a cache that holds the kernel for both dtypes."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert use_cache() == [False, False]
    assert use_cache() == [True, True]
    (directory,) = tmp_path.iterdir()
    return directory


DAMAGES = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "garbage": lambda content: b"\x80\x05garbage" * 100,
    "zeros": lambda content: bytes(len(content)),
    "another pickle": lambda content: pickle.dumps("what is this?"),
    "a pickle of its type": lambda content: pickle.dumps((1, 2)),
}


@pytest.mark.parametrize("damage", sorted(DAMAGES))
@pytest.mark.parametrize("pattern", ["*.nbi", "*.1.nbc", "*.2.nbc", "*.nb?"])
def test_a_damaged_file_is_replaced(directory, pattern, damage):
    damaged = list(directory.glob(pattern))
    assert damaged
    for path in damaged:
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert False in use_cache()
    use_cache()
    assert use_cache() == [True, True]


@pytest.mark.parametrize("pattern", ["*.nbi", "*.1.nbc", "*.nb?"])
def test_a_lost_file_is_replaced(directory, pattern):
    for path in directory.glob(pattern):
        path.unlink()
    assert False in use_cache()
    assert use_cache() == [True, True]


def test_code_of_other_types_is_not_used(directory):
    # Two processes that save at the same moment can each take the number that the other takes, and the index of one
    # then leads to the code of the other.
    first, second = sorted(directory.glob("*.nbc"))
    shutil.copy(first, second)
    assert use_cache() == [True, False]
    assert use_cache() == [True, True]


def test_a_directory_that_vanishes_is_survived(directory):
    kernel = options.kernel(double)
    shutil.rmtree(directory)
    directory.write_text("")
    values = np.ones(3, np.int64)
    kernel(values)
    assert values.tolist() == [2, 2, 2]
