"""Deformations: new images from old ones, by small random displacements, as handwriting varies."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml import checks
from fastml.kernels import deformation, jit

# In parts of the image's side, or of one; chosen on MNIST. A network of 400 hidden units ends at a test error of 1.64 %
# (loss 0.058) after 30 epochs of the images themselves, of 0.90 % (0.027) after 30 epochs of these deformations, each
# epoch's new; of 1.03 % (0.033) with elastic = 0.18, 0.93 % (0.030) with 0. 0.12 is 0.48 of a cell of the grid: up to
# there a B-spline does not fold.
LIMITS = {"scale": 0.1, "stretch": 0.1, "shear": 0.1, "rotation": 0.15, "shift": 0.04, "elastic": 0.12}
# A call into compiled code takes about 50 ms, then comes Ctrl-C.
CALL_PIXELS = 2**23


def deform(images: ArrayLike, numbers: ArrayLike, seed: int = 0, out: NDArray[np.uint8] | None = None) -> NDArray:
    """Deform images by smooth random displacements, writing to out in place if it is given.

    Image number k is made from ``images[k % len(images)]`` and depends on that, the seed and k alone. So any part of
    an unending series can be made at any time, in any order: the same bits on any machine, with any number of threads.

    Parameters
    ----------
    images : array_like of uint8, shape (n, rows, columns)
        The originals, on a background of 0; at least one, with sides of 1 to 2048 pixels. Read where they lie if they
        are C-contiguous, also from a memory map.
    numbers : array_like of integers, shape (count,)
        The numbers of the images to make, in [0, 2**63), in any order. For fresh deformations in each epoch:
        ``epoch * n + np.arange(n)``.
    seed : int
        In [0, 2**64).
    out : ndarray of uint8, shape (count, rows, columns), optional
        Where to write them: C-contiguous, and sharing memory with neither `images` nor `numbers`.

    Returns
    -------
    ndarray of uint8, shape (count, rows, columns)
        `out`, or a new array.

    Raises
    ------
    TypeError, ValueError
        For an argument that is not as above; nothing has been changed then.

    Notes
    -----
    The value of a pixel is that of the original at a displaced place, interpolated bilinearly; what lies outside is 0.
    The displacement is an elastic one plus an affine map about the middle: the displacements y and x of a place (y, x)
    are ::

        y:  (scale + stretch) * y + (shear - rotation) * x + shift
        x:  (scale - stretch) * x + (shear + rotation) * y + another shift

    with uniform random numbers of up to 0.1 (scale, stretch, shear) and 0.15 (rotation, in radians) in either direction
    and shifts of up to 0.04 of the side, 1.1 of MNIST's 28 pixels.

    The elastic displacement follows [1]_. There, a random number from -1 to 1 for each pixel is smoothed with a
    Gaussian of standard deviation sigma = 4 pixels and multiplied by alpha = 34, which gives displacements of a
    standard deviation of 34 / sqrt(3) / (2 sqrt(pi) sigma) = 1.4 pixels. Here, random numbers belong to control points
    only, 4 cells along a side, and are interpolated by a uniform cubic B-spline. On cells of 7 pixels it is nearly a
    Gaussian, of standard deviation 7 / sqrt(3) = 4.04 pixels: as smooth, for a hundredth of the work. The
    numbers are uniform up to 0.12 of the side, so that the displacements have a standard deviation of 0.9 pixels, less
    than there, as the affine map comes on top; within 0.48 of a cell a B-spline never folds the image [2]_.

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
    seed = checks.check_seed(seed)
    _, rows, columns = images.shape
    shape = (numbers.size, rows, columns)
    if out is None:
        out = np.empty(shape, np.uint8)
    else:
        checks.check_out(out, shape, images=images, numbers=numbers)

    # A read-only view: one kernel serves arrays that may be written and arrays (memory maps) that may not.
    images = np.ascontiguousarray(images).view()
    images.flags.writeable = False
    numbers = np.ascontiguousarray(numbers, np.int64)
    limits = deformation.Limits(**{name: round(deformation.LIMIT * limit) for name, limit in LIMITS.items()})
    down, across = deformation.spline(rows), deformation.spline(columns)
    workers = jit.available_threads()
    scratch = deformation.scratch(rows, columns, workers)
    count = max(1, CALL_PIXELS // (rows * columns))
    for start in range(0, numbers.size, count):
        part = slice(start, start + count)
        with jit.parallel_lock:
            deformation.deform_images(
                images, numbers[part], np.uint64(seed), limits, down, across, workers, scratch, out[part]
            )
    return out
