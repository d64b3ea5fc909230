import numba
import pytest

from fastml import slices
from fastml.datasets import load_mnist
from fastml.kernels import calls
from fastml.kernels.jit import OPTIONS


@pytest.fixture(scope="session")
def mnist():
    return load_mnist()


@pytest.fixture
def one_batch_a_slice(monkeypatch):
    """Progress is told after each batch, however fast they go."""
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(slices, "TRIAL_SECONDS", 0.0)


@pytest.fixture
def own_run_workers(monkeypatch):
    """Leave `run_workers` with the signatures that models have, which other tests count."""
    monkeypatch.setattr(calls, "run_workers", numba.njit(**OPTIONS)(calls.run_workers.py_func))
