import pytest

from fastml.datasets import load_mnist


@pytest.fixture(scope="session")
def mnist():
    return load_mnist()
