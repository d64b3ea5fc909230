"""The first compilation is announced on standard error, once, and no epoch's seconds include it."""

import sys
import time
from types import SimpleNamespace

import numba
import numpy as np
import pytest

from fastml import compile_notice, runs, train_nn, warmup
from fastml.epochs import run_epoch
from fastml.kernels.compile.options import OPTIONS, kernel
from tests.problems import make_problem


def add_one(x):
    x[0] += 1


@pytest.fixture
def notice(monkeypatch):
    """The notice of a process that has compiled nothing yet."""
    monkeypatch.delenv("FASTML_QUIET")
    monkeypatch.setattr(compile_notice.notice, "said", False)
    return compile_notice.notice


def compile_as(module, monkeypatch, dtype=np.float32):
    """Compile a small function as one of a module."""
    monkeypatch.setattr(add_one, "__module__", module)
    numba.njit(**OPTIONS)(add_one)(np.zeros(1, dtype))


def test_the_first_compilation_is_said_once(capsys, monkeypatch, notice):
    for _ in range(2):
        compile_as("fastml.kernels.layer", monkeypatch)
    line = "fastml: compiling kernels for float32 (first call, about 10 s; not cached: no directory can be written)\n"
    assert capsys.readouterr() == ("", line)


def test_the_place_of_the_cache_is_said(capsys, monkeypatch, notice):
    dispatcher = kernel(compile_notice.is_of_fastml)
    dtype, tuples = (
        numba.types.float64,
        numba.types.Tuple((numba.types.int64, numba.types.Array(numba.types.float64, 1, "C"))),
    )
    notice.on_start(SimpleNamespace(data={"dispatcher": dispatcher, "args": (numba.types.int64, tuples)}))
    assert f"for {dtype} (first call, about 10 s; cached in {dispatcher.stats.cache_path})" in capsys.readouterr().err


def test_numbers_without_a_precision(capsys, monkeypatch, notice):
    compile_as("fastml.datasets", monkeypatch, np.int64)
    assert capsys.readouterr().err.startswith("fastml: compiling kernels (first call")


@pytest.mark.parametrize(
    ("module", "quiet"),
    [("users.module", ""), ("fastmlx", ""), ("fastml.epochs", "1"), ("fastml.epochs", "true")],
)
def test_no_notice_of_others_compilations_or_where_it_is_unwanted(capsys, monkeypatch, notice, module, quiet):
    monkeypatch.setenv("FASTML_QUIET", quiet)
    compile_as(module, monkeypatch)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("quiet", ["", "0"])
def test_zero_and_nothing_are_not_quiet(capsys, monkeypatch, notice, quiet):
    monkeypatch.setenv("FASTML_QUIET", quiet)
    compile_as("fastml.epochs", monkeypatch)
    assert capsys.readouterr().err


def test_no_notice_without_a_compilation(capsys, notice):
    warmup()
    capsys.readouterr()
    notice.said = False
    warmup()
    assert capsys.readouterr() == ("", "")


def test_no_standard_error_is_no_problem(monkeypatch, notice):
    monkeypatch.setattr(sys, "stderr", None)
    compile_as("fastml.epochs", monkeypatch)
    assert notice.said


@pytest.mark.parametrize("more", [{}, {"shuffle": True}, {"validation_fraction": 0.5}, {"deform": (4, 4)}])
def test_seconds_do_not_include_the_compilation(monkeypatch, more):
    now, compiled = 0.0, False

    def slow_at_first(data, *arguments):
        nonlocal now, compiled
        now += 1.0 if compiled else 100.0
        compiled = True
        run_epoch(data, *arguments)

    monkeypatch.setattr(runs, "time", SimpleNamespace(perf_counter=lambda: now, monotonic=time.monotonic))
    monkeypatch.setattr(runs, "run_epoch", slow_at_first)
    problem = make_problem(40, 16, 8, 3, 10, "uint8")
    settings = {"hidden_dim": 8, "epochs": 2, "batch": 10, "scale": 1 / 64, "bias": True, "verbose": False, **more}
    history = train_nn(problem.X, problem.y, **settings)
    assert [row.seconds for row in history] == [1.0, 1.0]
