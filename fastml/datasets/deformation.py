"""Deformations: make new images from existing ones by small random displacements, similar to varied handwriting."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml import checks, scalars
from fastml.datasets.kernels import deformation
from fastml.kernels.compile import forks

# The largest absolute values of the random numbers, chosen by the test error on MNIST. `shift` and `elastic` are
# fractions of the image's side, `rotation` is in radians, the others have no unit. The limit of `elastic` is 0.48 of a
# cell of the grid: up to this limit a B-spline does not fold the image.
LIMITS = {"scale": 0.1, "stretch": 0.1, "shear": 0.1, "rotation": 0.15, "shift": 0.04, "elastic": 0.12}
# Pixels of one call into compiled code: about 50 ms. Python handles Ctrl-C between two calls.
CALL_PIXELS = 2**23


def deform(images: ArrayLike, numbers: ArrayLike, seed: int = 0, out: NDArray[np.uint8] | None = None) -> NDArray[Any]:
    """Deform images by smooth random displacements, writing to out in place if it is given.

    Image number k is made from ``images[k % len(images)]`` and depends only on this image, the seed and k. So any part
    of an endless series can be made at any time and in any order. The result has the same bits on any machine, for any
    number of threads.

    Parameters
    ----------
    images : array_like of uint8, shape (n, rows, columns)
        The originals, on a background of 0: at least one image, with sides of 1 to 2048 pixels. C-contiguous arrays,
        also memory maps, are read without a copy.
    numbers : array_like of integers, shape (count,)
        The numbers of the images to make, in [0, 2**63), in any order. For fresh deformations in each epoch:
        ``epoch * n + np.arange(n)``.
    seed : int
        In [0, 2**64).
    out : ndarray of uint8, shape (count, rows, columns), optional
        The array for the new images: C-contiguous, writable, and sharing no memory with `images` or `numbers`.

    Returns
    -------
    ndarray of uint8, shape (count, rows, columns)
        `out`, or a new array.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid. Nothing has been changed then.

    Notes
    -----
    The value of a pixel is that of the original at a displaced position, interpolated bilinearly. Positions outside of
    the original have the value 0. The displacement is the sum of an elastic displacement and an affine map about the
    centre of the image. The affine displacements in y and x of a position (y, x) are ::

        y:  (scale + stretch) * y + (shear - rotation) * x + shift
        x:  (scale - stretch) * x + (shear + rotation) * y + another shift

    with uniform random numbers of up to 0.1 (scale, stretch, shear) and 0.15 (rotation, in radians) in either direction
    and shifts of up to 0.04 of the side, which is 1.1 pixels for MNIST's 28.

    The elastic displacement follows [1]_. The paper draws a random number from -1 to 1 for each pixel, smooths these
    numbers with a Gaussian of standard deviation sigma = 4 pixels, and multiplies them by alpha = 34. This gives
    displacements of a standard deviation of 34 / sqrt(3) / (2 sqrt(pi) sigma) = 1.4 pixels. Here, only the control
    points of a grid, with 4 cells along a side, have random numbers, and a uniform cubic B-spline interpolates them. On
    cells of 7 pixels the B-spline is nearly a Gaussian of standard deviation 7 / sqrt(3) = 4.04 pixels: as smooth, for
    about a hundredth of the work. The random numbers are uniform up to 0.12 of the side. The displacements then have a
    standard deviation of 0.9 pixels, less than in the paper, because the affine map adds to them. Up to 0.48 of a cell,
    a B-spline never folds the image [2]_.

    References
    ----------
    .. [1] Simard, Steinkraus and Platt, "Best practices for convolutional neural networks applied to visual document
       analysis", ICDAR 2003.
    .. [2] Choi and Lee, "Injectivity conditions of 2D and 3D uniform cubic B-spline functions", Graphical Models 62
       (2000).

    Examples
    --------
    >>> import numpy as np
    >>> from fastml.datasets import deform, load_mnist
    >>> (X, y), _ = load_mnist(raw=True)
    >>> digits = X.reshape(-1, 28, 28)
    >>> three = deform(digits, [7, 60_007, 120_007], seed=1)  # of digit 7, a three
    >>> bool((deform(digits, [120_007], seed=1) == three[2]).all())
    True
    """
    images = checks.check_images(images, deformation.MOST_PIXELS)
    numbers = checks.check_numbers(numbers)
    seed = scalars.check_seed(seed)
    _, rows, columns = images.shape
    shape = (numbers.size, rows, columns)
    if out is None:
        out = np.empty(shape, np.uint8)
    else:
        checks.check_out(out, shape, images=images, numbers=numbers)

    # A read-only view: one compiled kernel then serves both writable and read-only arrays, such as memory maps.
    images = np.ascontiguousarray(images).view()
    images.flags.writeable = False
    numbers = np.ascontiguousarray(numbers, np.int64)
    limits = deformation.Limits(**{name: round(deformation.LIMIT * limit) for name, limit in LIMITS.items()})
    series = np.uint64(seed), limits, deformation.spline(rows), deformation.spline(columns)
    scratch = deformation.scratch(rows, columns, workers=forks.available_threads())
    count = max(1, CALL_PIXELS // (rows * columns))
    for start in range(0, numbers.size, count):
        part = slice(start, start + count)
        with forks.parallel_lock:
            deformation.deform_images(images, numbers[part], *series, scratch, out[part])
    return out
