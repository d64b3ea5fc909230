"""A set of images with its labels and the scale of its pixels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Scales pixels of one byte to [0, 1]: the usual step sizes are right for this range.
PIXEL_SCALE = 1 / 255


class ImageSet(tuple[NDArray[Any], NDArray[Any]]):
    """Images and their labels: a tuple ``(X, y)`` that also has the scale of its pixels.

    Attributes
    ----------
    X : ndarray of uint8 or float32, shape (num_examples, input_dim)
        A row for each image.
    y : ndarray of integers, shape (num_examples,)
        The labels.
    scale : float
        1/255 for raw pixels, 1.0 for floats in [0, 1]: the `scale` to train with.
    classes : tuple of str, or None
        The names of the classes if they are not just numbers: the letters of EMNIST.

    Examples
    --------
    >>> from fastml import evaluate, load_mnist, train_softmax
    >>> train, test = load_mnist(raw=True)
    >>> history = train_softmax(*train, *test, scale=train.scale, epochs=1, lr=0.2, verbose=False)
    >>> loss, err = evaluate(*test, history.weights)  # the weights have their scale
    >>> err < 0.1
    True
    """

    scale: float
    classes: tuple[str, ...] | None

    def __new__(cls, X: NDArray[Any], y: NDArray[Any], classes: tuple[str, ...] | None = None) -> "ImageSet":
        """Keep the arrays, without copies."""
        made = super().__new__(cls, (X, y))
        made.classes = classes
        made.scale = PIXEL_SCALE if X.dtype == np.uint8 else 1.0
        return made

    def __getnewargs__(self) -> tuple[NDArray[Any], NDArray[Any], tuple[str, ...] | None]:
        """Return what pickle and copy make the object from."""
        return self.X, self.y, self.classes

    @property
    def X(self) -> NDArray[Any]:
        """The images, a row for each."""
        return self[0]

    @property
    def y(self) -> NDArray[Any]:
        """The labels."""
        return self[1]
