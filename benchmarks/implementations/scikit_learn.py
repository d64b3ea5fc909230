"""scikit-learn's MLPClassifier; an epoch is one call of `partial_fit`.

Its biases cannot be turned off, so only its first step, from biases of zero, is the same as that of the others. Without
a hidden layer it is softmax regression. SGDClassifier is made for such models, but it takes the rows one by one.
"""

import numpy as np
import sklearn
from sklearn.neural_network import MLPClassifier

from implementations.base import Implementation


class ScikitLearn(Implementation):
    """Plain SGD: no momentum, no penalty, a constant step size, no shuffling."""

    name = "scikit-learn, MLPClassifier"
    version = sklearn.__version__
    has_biases = True

    def reset(self):
        self.model = MLPClassifier(
            [W.shape[1] for W in self.start[:-1]],
            solver="sgd",
            alpha=0,
            batch_size=min(self.batch, len(self.X)),
            learning_rate_init=self.lr,
            momentum=0,
            nesterovs_momentum=False,
            shuffle=False,
        )
        # The first call allocates the arrays, and the second call continues with them.
        few = slice(self.model.batch_size)
        self.model.partial_fit(self.X[few], self.y[few], classes=np.arange(self.start[-1].shape[1]))
        for W, start in zip(self.model.coefs_, self.start, strict=True):
            W[...] = start
        for bias in self.model.intercepts_:
            bias[...] = 0

    def epoch(self):
        self.model.partial_fit(self.X, self.y)

    def results(self):
        return list(self.model.coefs_)


IMPLEMENTATIONS = [ScikitLearn]
