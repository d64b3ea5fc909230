import pytest

from fastml import slices
from fastml.datasets import load_mnist


@pytest.fixture(scope="session")
def mnist():
    return load_mnist()


@pytest.fixture
def one_batch_a_slice(monkeypatch):
    """Progress is told after each batch, however fast they go."""
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(slices, "TRIAL_SECONDS", 0.0)
