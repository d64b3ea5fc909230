"""Verdicts of a model on MNIST's 60,000 images: losses, errors, predictions."""

import fastml

from . import problems

# The settings are those of `epochs`.
number = 1
repeat = (2, 5, 2.0)
warmup_time = 0.2


class Model:
    """The functions that judge a set; 0 hidden units mean softmax regression."""

    params = (["evaluate", "predict", "predict_proba"], [0, 400])
    param_names = ("function", "hidden")

    def setup(self, function, hidden):
        self.run = problems.verdicts(function, hidden, "float32")

    def time_60_000_images(self, *case):
        self.run()


class Logits:
    """The loss and the error of given logits."""

    def setup(self):
        X, self.y = problems.images("float32"), problems.mnist()[1]
        self.logits = X @ problems.weights(0)[0]
        fastml.loss_err(self.logits, self.y)

    def time_loss_err(self):
        fastml.loss_err(self.logits, self.y)
