"""Both models on the vectors of other CPUs, which Numba compiles for in processes of their own."""

import json
import platform

import llvmlite.binding as llvm
import numpy as np
import pytest

from fastml.kernels import panels
from fastml.kernels.simd import registers, tiles
from tests import bits
from tests.problems import EPOCHS, assert_as_accurate_as_numpy, make_problem

pytestmark = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="names vectors of x86 processors"
)
SSE2 = {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2"}
AVX2 = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2,+lzcnt,+f16c",
}
AVX512 = {
    "NUMBA_CPU_NAME": "skylake-avx512",
    "NUMBA_CPU_FEATURES": AVX2["NUMBA_CPU_FEATURES"] + ",+avx512f,+avx512bw,+avx512cd,+avx512dq,+avx512vl",
}
NEEDS_AVX2 = pytest.mark.skipif(
    not all(llvm.get_host_cpu_features().get(feature) for feature in ("avx2", "fma", "bmi2")),
    reason="the machine has no AVX2",
)
# The processes have no cache: four kernels are compiled in each, 45 s on two cores with nothing else to do.
COMPILE_SECONDS = 300
RUNNABLE = [pytest.param("AVX2", marks=NEEDS_AVX2), "SSE2"]


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [(SSE2, [16, 16, 3, 2, 1, 4, 2]), (AVX2, [32, 16, 3, 2, 1, 8, 4]), (AVX512, [64, 32, 5, 5, 2, 16, 8])],
    ids=["SSE2", "AVX2", "AVX512"],
)
def test_tile_follows_the_registers(cpu, expected):
    # Nothing is compiled: no CPU need have them.
    assert json.loads(bits.run_python("-m", "tests.test_cpus", **cpu)) == expected


def print_shapes():
    """In a process of its own: print bytes of a register, registers, vectors and classes of a tile, units, lanes."""
    lanes = [panels.lanes(dtype) for dtype in ("float32", "float64")]
    print([registers.REGISTER_BYTES, registers.REGISTERS, panels.MOST_VECTORS, panels.CLASSES, tiles.UNITS, *lanes])


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """Start a process for each CPU, side by side, since they mostly compile."""
    cpus = {"AVX2": AVX2, "SSE2": SSE2}
    started = {
        name: bits.start_python(
            "-c",
            "from tests.test_cpus import check_models; check_models()",
            NUMBA_CACHE_DIR=str(tmp_path_factory.mktemp(name)),
            **cpus[name],
        )
        for name in cpus
        if name == "SSE2" or not NEEDS_AVX2.args[0]
    }
    yield started
    for process in started.values():
        process.kill()


@pytest.mark.parametrize("cpu", RUNNABLE)
def test_models_agree_with_the_oracle(cpu, processes):
    status, output, errors = bits.end_python(processes[cpu], COMPILE_SECONDS)
    assert (status, output) == (0, "agrees\n"), errors


def check_models():
    """In a process of its own: run an epoch of both models and compare with NumPy, as accurate as NumPy itself is."""
    # 80 inputs are whole vectors of any CPU: softmax regression reads X where it lies.
    for dtype, x_dtype, input_dim in (("float32", "uint8", 80), ("float64", "float64", 83)):
        problem = make_problem(103, input_dim, 131, 7, batch=17, dtype=x_dtype, density=0.3)
        for model, (fast, reference) in EPOCHS.items():
            start = problem.weights(model, dtype)
            got, exact, peer = ([W.astype(working) for W in start] for working in (dtype, np.float64, dtype))
            for epoch, weights in ((fast, got), (reference, exact), (reference, peer)):
                epoch(problem.X, problem.y, *weights, **problem.settings)
            assert_as_accurate_as_numpy(got, exact, peer, slack=8 * np.finfo(dtype).eps)
    print("agrees")


if __name__ == "__main__":
    print_shapes()
