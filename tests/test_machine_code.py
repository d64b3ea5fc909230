"""What the kernels were compiled to: no double precision where weights are float32, nothing that raises or spills."""

import platform
import re
from unittest import mock

import numba
import numpy as np
import pytest
from numba import types

import fastml
from fastml.datasets import deform
from fastml.datasets.kernels import deformation
from fastml.kernels import layer, network, network_many_classes, softmax_many_classes, softmax_regression
from fastml.kernels.compile import calls, options
from fastml.kernels.panels import MOST_VECTORS, ROWS
from fastml.kernels.products import PRODUCTS
from tests import bits, soak

# To widen a number, and to compute with it. float64 pixels are narrowed, which is meant; two sizes that Numba's reshape
# compares as float64 are no arithmetic.
FLOAT64 = re.compile(r"\bfpext\b|\bf(add|sub|mul|div|rem|neg)\b.* double\b|@llvm\.\w+\.(v\d+)?f64")
# int64 and uint64 together are float64 for NumPy, and were for older Numba; what is to be an index again would
# come back from there.
MIXED = re.compile(r"\bfpto[su]i double\b")
RAISING = re.compile("ZeroDivisionError|OverflowError")
# Functions of the package, but for those that only their own module sees.
DEFINED = re.compile(r'^define (?!internal)[^@]*@"?(_ZN6fastml[^"(]+)', re.MULTILINE)
# In assembly: a vector register that is kept on the stack.
SPILL = re.compile(r"\bvmov\w+\s+%[xyz]mm\d+, -?\d*\(%rsp\)")
# LLVM would unroll the loops of a tile for it.
ZEN4 = {"NUMBA_CPU_NAME": "znver4", "NUMBA_CPU_FEATURES": "+avx512f,+avx512bw,+avx512dq,+avx512vl,+fma,+bmi2"}


@pytest.fixture(scope="module")
def kernels():
    """Every kernel on arrays: its module, what it was compiled for, and its LLVM code."""
    soak.compile_all()
    deform(np.zeros((1, 5, 5), np.uint8), [0])
    return [
        (kernel.py_func.__module__, signature, code_of(overload))
        for kernel in (*soak.KERNELS, deformation.deform_images)
        for signature, overload in kernel.overloads.items()
    ]


def code_of(overload):
    """Return the optimised LLVM code of an overload; `inspect_llvm` has none of what came from the cache."""
    return str(overload.library._get_module_for_linking())


def precision(signature):
    """Return the dtype of the last array of floats, for X comes first and may have another; None without any."""
    dtypes = [kind.dtype for kind in flat(signature) if isinstance(kind, types.Array)]
    return next((dtype for dtype in reversed(dtypes) if isinstance(dtype, types.Float)), None)


def flat(kinds):
    """Yield types, with those of the elements in the place of tuples."""
    for kind in kinds:
        yield from flat(kind) if isinstance(kind, types.BaseTuple) else [kind]


def test_kernels_of_float32_do_not_compute_in_float64(kernels):
    single = [kernel for kernel in kernels if precision(kernel[1]) != types.float64]
    counts = [sum(soak.is_plain(signature) for _, signature, _ in some) for some in (kernels, single)]
    assert counts == [soak.MOST_SIGNATURES + 1, soak.MOST_SIGNATURES // 2 + 1]
    for *name, code in single:
        assert not FLOAT64.findall(code), name


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(
    ("kernel", "signatures"),
    [
        (network.learn_network, 2),
        (network.judge_network, 2),
        (network_many_classes.learn_network_many_classes, 2),
        (network_many_classes.judge_network_many_classes, 2),
        (softmax_many_classes.learn_softmax_many_classes, 2),
        (softmax_many_classes.judge_softmax_many_classes, 2),
        (softmax_regression.learn_from_rows_in_place, 6),
        (softmax_regression.judge_rows_in_place, 6),
        (softmax_regression.learn_from_packed_rows, 2),
        (softmax_regression.judge_packed_rows, 2),
    ],
)
def test_what_a_worker_does_is_compiled_for_the_types_of_its_calls(kernel, signatures):
    # A kernel is called at its address: given other types, it would take them for what they are not.
    assert sum(map(soak.is_plain, kernel.signatures)) == signatures


def test_a_kernel_has_no_functions_beside_its_own(kernels):
    # Others would have names that all kernels share, and of a name the first one in a process is called for all.
    for module, signature, code in kernels:
        names = DEFINED.findall(code)
        assert len(names) == 1, (module, signature, names)


def test_no_kernel_makes_an_index_of_a_float(kernels):
    for *name, code in kernels:
        assert not MIXED.findall(code), name


def test_no_kernel_raises_where_it_divides(kernels):
    for *name, code in kernels:
        assert not RAISING.findall(code), name


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="compiles for an x86 processor")
def test_tiles_stay_in_the_registers_of_zen_4(tmp_path):
    # Nothing runs: no CPU need have them.
    bits.run_python(
        "-c", "from tests.test_machine_code import check_loops; check_loops()", NUMBA_CACHE_DIR=str(tmp_path), **ZEN4
    )


def check_loops():
    """In a process of its own, without a cache: look through the loops of products, and of softmax regression."""
    with mock.patch.object(calls, "run_workers"):
        X, W = np.zeros((1, 784), np.float32), np.zeros((784, 16 * MOST_VECTORS), np.float32)
        fastml.nn_epoch(X, [0], W, np.zeros((16 * MOST_VECTORS, 10), np.float32))
        fastml.softmax_regression_epoch(X, [0], np.zeros((784, 10), np.float32))
    products = [loop for kernels in PRODUCTS.values() for loop in loops_of(kernels[-1])]
    # Other loops of softmax regression make exp, which may be unrolled, or end tiles.
    dots = [loop for loop in loops_of(softmax_regression.learn_from_rows_in_place) if "prefetcht1" in loop]
    assert len(products) >= len(PRODUCTS)
    assert max(loop.count("vfmadd") for loop in products) == ROWS * MOST_VECTORS
    assert max(loop.count("vfmadd") for loop in dots) == 2 * layer.WIDE
    assert not any(SPILL.search(loop) for loop in products + dots)


def loops_of(kernel):
    """Return the innermost loops of the one thing that a kernel was compiled to."""
    (code,) = kernel.inspect_asm().values()
    return loops(code)


def loops(assembly):
    """Return the loops that have none within them: from a label to the first jump back to it."""
    lines, begins, found = assembly.splitlines(), {}, []
    for number, line in enumerate(lines):
        if label := re.match(r"(\.\w+):", line):
            begins[label[1]] = number
        elif (jump := re.match(r"\s+j\w+\s+(\.\w+)", line)) and jump[1] in begins:
            found.append((begins[jump[1]], number))
    inner = [(a, b) for a, b in found if not any(a <= c and d <= b and (a, b) != (c, d) for c, d in found)]
    return ["\n".join(lines[a : b + 1]) for a, b in inner]


def halve(x):
    for i in range(x.size):
        x[i] = x[i] * 0.1


def mix(x):
    x[int(x.size * 0.7)] = 0


def divide(x):
    x[0] = x.size // (x.size - 1)


@pytest.mark.parametrize(
    ("function", "changed", "pattern"),
    [(halve, {}, FLOAT64), (mix, {}, MIXED), (divide, {"error_model": "python"}, RAISING)],
)
def test_the_patterns_find_what_they_are_for(function, changed, pattern):
    kernel = numba.njit("void(float32[::1])", **options.OPTIONS | changed)(function)
    (overload,) = kernel.overloads.values()
    assert pattern.findall(code_of(overload))
