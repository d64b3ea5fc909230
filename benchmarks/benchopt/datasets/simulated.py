"""Random clouds, for a quick try."""

import numpy as np
from benchopt import BaseDataset


class Dataset(BaseDataset):
    """Three classes of normally distributed points around centres of their own."""

    name = "Simulated"
    requirements = ["numpy"]
    parameters = {"num_examples, input_dim": [(1000, 20)]}

    def get_data(self):
        """Return a training set and a test set of the same size."""
        random = np.random.default_rng(0)
        centres, y = random.standard_normal((3, self.input_dim)), random.integers(3, size=2 * self.num_examples)
        X = (centres[y] + random.standard_normal((len(y), self.input_dim))).astype(np.float32)
        X, X_test = np.split(X, 2)
        y, y_test = np.split(y, 2)
        return {"X": X, "y": y, "X_test": X_test, "y_test": y_test}
