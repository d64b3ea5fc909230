"""MNIST, from the package."""

from benchopt import BaseDataset

from fastml import load_mnist


class Dataset(BaseDataset):
    """60,000 training images and 10,000 test images, float32 pixels in [0, 1]."""

    name = "MNIST"
    requirements = ["pip::fastml"]

    def get_data(self):
        """Return both sets."""
        (X, y), (X_test, y_test) = load_mnist()
        return {"X": X, "y": y, "X_test": X_test, "y_test": y_test}
