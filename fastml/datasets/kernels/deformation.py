"""Smooth random deformations of images: the value of a new pixel is that of the original at a displaced position.

The displacements are a uniform cubic B-spline on a grid of control points. The value of a control point is the sum of
random numbers and an affine map of its position. A B-spline preserves an affine map exactly.

All arithmetic is in fixed-point integers, so the result has the same bits on any machine, for any number of threads.
The random numbers are a function of a key and a counter. The key is made from the seed and the number of the image, so
images can be made in any order.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from fastml.kernels.compile.options import helper, parallel_kernel
from fastml.kernels.panels import padded
from fastml.kernels.team import share

# Cells of the grid along a side of the image. For 28 pixels, a cell has 7 pixels, and the B-spline has a standard
# deviation of 7 / sqrt(3) = 4.04 pixels, nearly that of the Gaussian of Simard, Steinkraus and Platt.
CELLS = 4
# Control points along a side. Four of them determine the displacements in a cell.
POINTS = CELLS + 3
# The units of fixed-point numbers: 1/256 of a pixel for displacements, 1/4096 for spline weights, 1/65536 for limits.
PIXEL_BITS, WEIGHT_BITS, LIMIT_BITS = 8, 12, 16
PIXEL, WEIGHT, LIMIT = 1 << PIXEL_BITS, 1 << WEIGHT_BITS, 1 << LIMIT_BITS
# The most pixels of a side: a weighted control point then fits an int32, if the limits add up to less than 1. A vector
# holds twice as many int32 as int64.
MOST_PIXELS = 2048
# Lines are padded to a multiple of this length, so that loops over a line process whole vectors.
LANES = 32

PIXEL_MASK = np.uint32(PIXEL - 1)
EVEN_BYTES = np.uint32(0x00FF00FF)
GOLDEN_RATIO = np.uint64(0x9E3779B97F4A7C15)
FIRST_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
SECOND_FACTOR = np.uint64(0x94D049BB133111EB)


class Limits(NamedTuple):
    """The largest absolute value of each random number, in 1/65536."""

    scale: int
    stretch: int
    shear: int
    rotation: int
    shift: int
    elastic: int


class Spline(NamedTuple):
    """For each pixel of a side, the first of its four control points, and their weights, (pixels, 4)."""

    first: NDArray[np.int64]
    weights: NDArray[np.int32]


class Scratch(NamedTuple):
    """Memory for the intermediate results of a deformation; the first index of each array is the worker."""

    points: NDArray[np.int32]
    lines: NDArray[np.int32]
    places: NDArray[np.int32]
    padded: NDArray[np.uint8]
    corners: NDArray[np.uint32]
    words: NDArray[np.uint32]


def spline(pixels: int) -> Spline:
    """Return the uniform cubic B-spline at the centres of the pixels of a side."""
    place = (np.arange(pixels) + 0.5) * CELLS / pixels
    first = np.floor(place)
    t = place - first
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6
    return Spline(first.astype(np.int64), np.rint(WEIGHT * weights).astype(np.int32))


def scratch(rows: int, columns: int, workers: int) -> Scratch:
    """Return memory for images of a size; kernels must leave the padding of an image zero."""
    width = padded(columns + 2, LANES)
    return Scratch(
        points=np.zeros((workers, 2, POINTS, POINTS), np.int32),
        lines=np.zeros((workers, 2, POINTS, width), np.int32),
        places=np.zeros((workers, 2, width), np.int32),
        padded=np.zeros((workers, (rows + 3) * width + 1), np.uint8),
        corners=np.zeros((workers, (rows + 2) * width), np.uint32),
        words=np.zeros((workers, width), np.uint32),
    )


@helper
def split_mix(state):
    """Return the number that SplitMix64 (Steele, Lea and Flood, 2014) makes from a state."""
    state += GOLDEN_RATIO
    state = (state ^ (state >> np.uint64(30))) * FIRST_FACTOR
    state = (state ^ (state >> np.uint64(27))) * SECOND_FACTOR
    return state ^ (state >> np.uint64(31))


@helper
def draw(key, counter, limit):
    """Return a random integer in [-limit, limit], uniform up to differences of 2**-32."""
    bits = split_mix(key + np.uint64(counter) * GOLDEN_RATIO) >> np.uint64(32)
    return np.int64((bits * np.uint64(2 * limit + 1)) >> np.uint64(32)) - limit


@helper
def draw_points(key, limits, rows, columns, points):
    """Write the displacements of the control points, (2, POINTS, POINTS), down and to the right: affine plus random."""
    scale, stretch = draw(key, 0, limits.scale), draw(key, 1, limits.stretch)
    shear, rotation = draw(key, 2, limits.shear), draw(key, 3, limits.rotation)
    down, right = draw(key, 4, limits.shift), draw(key, 5, limits.shift)
    counter = 6
    for p in range(POINTS):
        # Distance of the control point from the centre of the image.
        y = (p - POINTS // 2) * rows * PIXEL // CELLS
        for q in range(POINTS):
            x = (q - POINTS // 2) * columns * PIXEL // CELLS
            dy = (down + draw(key, counter, limits.elastic)) * rows * PIXEL
            dx = (right + draw(key, counter + 1, limits.elastic)) * columns * PIXEL
            counter += 2
            points[0, p, q] = (dy + (scale + stretch) * y + (shear - rotation) * x) >> LIMIT_BITS
            points[1, p, q] = (dx + (scale - stretch) * x + (shear + rotation) * y) >> LIMIT_BITS


@helper
def weigh(weights, i, a, b, c, d):
    """Return the weighted sum of four control points at pixel i, rounded."""
    total = weights[i, 0] * a + weights[i, 1] * b + weights[i, 2] * c + weights[i, 3] * d
    return np.int32(total + WEIGHT // 2) >> np.int32(WEIGHT_BITS)


@helper
def interpolate_lines(points, across, lines):
    """Write lines, (2, POINTS, width): each line of control points, interpolated at each column of pixels."""
    for axis in range(2):
        for p in range(POINTS):
            values = points[axis, p]
            for j in range(across.first.size):
                q = across.first[j]
                lines[axis, p, j] = weigh(across.weights, j, values[q], values[q + 1], values[q + 2], values[q + 3])


@helper
def pack_corners(image, width, padded, corners):
    """Write the image to padded, and the four pixels around each corner of its pixels, as one word, to corners.

    One load then fetches the four pixels of an interpolation, and all later steps use vectors. Both arrays are flat,
    with rows of a width that leaves zeros on either side of the image.
    """
    for i in range(image.shape[0]):
        line = padded[(i + 1) * width + 1 :]
        for j in range(image.shape[1]):
            line[j] = image[i, j]
    below = padded[width:]
    for k in range(corners.size):
        upper = padded[k] | np.uint32(padded[k + 1]) << np.uint32(8)
        lower = below[k] | np.uint32(below[k + 1]) << np.uint32(8)
        corners[k] = upper | lower << np.uint32(16)


@helper
def find_places(lines, weights, i, first, step, most, places):
    """Write one coordinate of the position at which each pixel j of row i is looked up.

    The coordinate is first + step * j plus the displacement, clipped to [0, most], in 1/256 of a pixel. The first four
    of lines, (lines, width), belong to row i.
    """
    above, upper, lower, below = lines[0], lines[1], lines[2], lines[3]
    for j in range(places.size):
        place = weigh(weights, i, above[j], upper[j], lower[j], below[j]) + first + step * j
        places[j] = min(max(np.int32(place), np.int32(0)), np.int32(most))


@helper
def look_up(corners, width, y, x, words, out):
    """Write a row of pixels: the bilinear interpolations of an image at positions (y, x), rounded."""
    for j in range(out.size):
        words[j] = corners[np.uint32((y[j] >> PIXEL_BITS) * width + (x[j] >> PIXEL_BITS))]
    for j in range(out.size):
        word = words[j]
        right, bottom = np.uint32(x[j]) & PIXEL_MASK, np.uint32(y[j]) & PIXEL_MASK
        # One number holds two sums of 16 bits: in its low half for the upper pixels, in its high half for the lower.
        both = np.uint32((word & EVEN_BYTES) * (PIXEL - right) + (word >> np.uint32(8) & EVEN_BYTES) * right)
        upper, lower = both & np.uint32(0xFFFF), both >> np.uint32(16)
        out[j] = np.uint32(upper * (PIXEL - bottom) + lower * bottom + PIXEL * PIXEL // 2) >> np.uint32(2 * PIXEL_BITS)


@helper
def deform_image(image, key, limits, down, across, memory, out):
    """Write the image, deformed by the random numbers of the key, to out; pixels outside of the image are 0."""
    rows, columns = image.shape
    width = memory.words.size
    draw_points(key, limits, rows, columns, memory.points)
    interpolate_lines(memory.points, across, memory.lines)
    pack_corners(image, width, memory.padded, memory.corners)
    y, x = memory.places[0], memory.places[1]
    for i in range(rows):
        p = down.first[i]
        # The padding begins a pixel before the image.
        find_places(memory.lines[0, p:], down.weights, i, (i + 1) * PIXEL, 0, (rows + 1) * PIXEL, y)
        find_places(memory.lines[1, p:], down.weights, i, PIXEL, PIXEL, (columns + 1) * PIXEL, x)
        look_up(memory.corners, width, y, x, memory.words, out[i])


@helper
def deform_part(images, numbers, seed, limits, down, across, scratch, out):
    """Write the images of one worker, to which scratch belongs, to out."""
    stream = split_mix(seed)
    for i in range(numbers.size):
        key = split_mix(stream + np.uint64(numbers[i]))
        deform_image(images[numbers[i] % images.shape[0]], key, limits, down, across, scratch, out[i])


@helper
def own_scratch(scratch, worker):
    """Return the memory of one worker."""
    return Scratch(
        points=scratch.points[worker],
        lines=scratch.lines[worker],
        places=scratch.places[worker],
        padded=scratch.padded[worker],
        corners=scratch.corners[worker],
        words=scratch.words[worker],
    )


@parallel_kernel
def deform_images(images, numbers, seed, limits, down, across, scratch, out):
    """Write image number numbers[i], deformed from images[numbers[i] % len(images)], to out[i], for all i.

    The number of workers is the length of the first axis of scratch.
    """
    workers = scratch.points.shape[0]
    if workers == 1:
        deform_part(images, numbers, seed, limits, down, across, own_scratch(scratch, 0), out)
    else:
        for worker in numba.prange(workers):
            first, last = share(numbers.size, np.intp(worker), workers)
            some, memory = numbers[first:last], own_scratch(scratch, np.intp(worker))
            deform_part(images, some, seed, limits, down, across, memory, out[first:last])
