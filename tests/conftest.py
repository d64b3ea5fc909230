import numba
import pytest

from fastml import slices
from fastml.datasets import load_mnist
from fastml.kernels.compile import calls
from fastml.kernels.compile.options import OPTIONS


@pytest.fixture(scope="session", autouse=True)
def quiet():
    """Suppress the notice of the first compilation, also in the processes that tests start."""
    with pytest.MonkeyPatch.context() as patches:
        patches.setenv("FASTML_QUIET", "1")
        yield


@pytest.fixture(scope="session")
def mnist():
    return load_mnist()


@pytest.fixture
def one_batch_a_slice(monkeypatch):
    """Make every slice one batch, so that progress is called after each batch."""
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(slices, "FIRST_OPERATIONS", 0)


@pytest.fixture
def own_run_workers(monkeypatch):
    """Leave `run_workers` with the signatures that models have, which other tests count."""
    monkeypatch.setattr(calls, "run_workers", numba.njit(**OPTIONS)(calls.run_workers.py_func))
