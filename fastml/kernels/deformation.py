"""Smooth random deformations of images: each pixel of the new image is looked up at a displaced place of the original.

The displacements are a uniform cubic B-spline on a grid of control points. Their values are random, and hold an affine
map as well: what is linear in the control points' places is exactly as linear in the pixels'.

All is done in integers, in fixed point: the same bits on any machine, with any number of threads. What is random comes
from a counter, not from a stream: the seed and the number of the image are the key, so images can be made in any order.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from fastml.kernels.jit import helper, parallel_kernel
from fastml.kernels.panels import padded, share

# Cells of the grid along a side of the image. In 28 pixels one is 7 wide, and the B-spline has a standard deviation of
# 7 / sqrt(3) = 4.04 pixels: that of the Gaussian of Simard, Steinkraus and Platt.
CELLS = 4
# Control points along a side: four reach into each cell.
POINTS = CELLS + 3
# A displacement is counted in 1/256 of a pixel, a weight of the spline in 1/4096, a limit in 1/65536.
PIXEL_BITS, WEIGHT_BITS, LIMIT_BITS = 8, 12, 16
PIXEL, WEIGHT, LIMIT = 1 << PIXEL_BITS, 1 << WEIGHT_BITS, 1 << LIMIT_BITS
# Pixels of a side. A weighted control point must fit an int32, which vectors hold twice as many of as int64 (one thread
# makes 1.6 times as many images); as long as the limits add up to less than 1, it does.
MOST_PIXELS = 2048
# What lines are padded to: whole turns of a loop on vectors.
LANES = 32

PIXEL_MASK = np.uint32(PIXEL - 1)
EVEN_BYTES = np.uint32(0x00FF00FF)
GOLDEN_RATIO = np.uint64(0x9E3779B97F4A7C15)
FIRST_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
SECOND_FACTOR = np.uint64(0x94D049BB133111EB)


class Limits(NamedTuple):
    """The largest of each random number, in either direction, in 1/65536."""

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
    """Memory of all workers, each with its own: what the steps of a deformation hand on to the next."""

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
    """Return memory for images of a size; the padding of an image stays zero."""
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
    """Return a random integer in [-limit, limit], all equally probable but for 2**-32."""
    bits = split_mix(key + np.uint64(counter) * GOLDEN_RATIO) >> np.uint64(32)
    return np.int64((bits * np.uint64(2 * limit + 1)) >> np.uint64(32)) - limit


@helper
def draw_points(key, limits, rows, columns, points):
    """Write the displacements, down and to the right, of the control points, (2, POINTS, POINTS): affine and random."""
    scale, stretch = draw(key, 0, limits.scale), draw(key, 1, limits.stretch)
    shear, rotation = draw(key, 2, limits.shear), draw(key, 3, limits.rotation)
    down, right = draw(key, 4, limits.shift), draw(key, 5, limits.shift)
    counter = 6
    for p in range(POINTS):
        # From the middle of the image.
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
    """Return what four control points, in one direction, add up to at pixel i, rounded."""
    total = weights[i, 0] * a + weights[i, 1] * b + weights[i, 2] * c + weights[i, 3] * d
    return np.int32(total + WEIGHT // 2) >> np.int32(WEIGHT_BITS)


@helper
def interpolate_lines(points, across, lines):
    """Write lines, (2, POINTS, width): the control points of each line interpolated at each column of pixels."""
    for axis in range(2):
        for p in range(POINTS):
            values = points[axis, p]
            for j in range(across.first.size):
                q = across.first[j]
                lines[axis, p, j] = weigh(across.weights, j, values[q], values[q + 1], values[q + 2], values[q + 3])


@helper
def pack_corners(image, width, padded, corners):
    """Write the image into its padding, and the four bytes around each corner of its pixels as a word to corners.

    So a place is looked up in one load, and all that comes after it is done on vectors. Both are flat, in rows of a
    width that leaves zeros on either side.
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
    """Write where each pixel of row i is looked up, in one direction: first + step * j and its displacement.

    lines, (POINTS, width), begin with the four control points of the row. Places are in [0, most], in 1/256 of a pixel.
    """
    above, upper, lower, below = lines[0], lines[1], lines[2], lines[3]
    for j in range(places.size):
        place = weigh(weights, i, above[j], upper[j], lower[j], below[j]) + first + step * j
        places[j] = min(max(np.int32(place), np.int32(0)), np.int32(most))


@helper
def look_up(corners, width, y, x, words, out):
    """Write a row of pixels: the bilinear interpolations of an image at places (y, x), rounded."""
    for j in range(out.size):
        words[j] = corners[np.uint32((y[j] >> PIXEL_BITS) * width + (x[j] >> PIXEL_BITS))]
    for j in range(out.size):
        word = words[j]
        right, bottom = np.uint32(x[j]) & PIXEL_MASK, np.uint32(y[j]) & PIXEL_MASK
        # Two products of 16 bits in one: those of the upper pixels below, those of the lower ones above.
        both = np.uint32((word & EVEN_BYTES) * (PIXEL - right) + (word >> np.uint32(8) & EVEN_BYTES) * right)
        upper, lower = both & np.uint32(0xFFFF), both >> np.uint32(16)
        out[j] = np.uint32(upper * (PIXEL - bottom) + lower * bottom + PIXEL * PIXEL // 2) >> np.uint32(2 * PIXEL_BITS)


@helper
def deform_image(image, key, limits, down, across, memory, out):
    """Write the image, deformed as its key says, to out; what lies outside of it is 0."""
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
def deform_part(images, numbers, stream, limits, down, across, worker, workers, scratch, out):
    """Write a worker's part of out."""
    memory = Scratch(
        scratch.points[worker],
        scratch.lines[worker],
        scratch.places[worker],
        scratch.padded[worker],
        scratch.corners[worker],
        scratch.words[worker],
    )
    first, last = share(numbers.size, worker, workers)
    for i in range(first, last):
        key = split_mix(stream + np.uint64(numbers[i]))
        deform_image(images[numbers[i] % images.shape[0]], key, limits, down, across, memory, out[i])


@parallel_kernel
def deform_images(images, numbers, seed, limits, down, across, workers, scratch, out):
    """Write out[i], image number numbers[i], deformed from images[numbers[i] % len(images)]; each worker has its i."""
    stream = split_mix(seed)
    if workers == 1:
        deform_part(images, numbers, stream, limits, down, across, np.intp(0), workers, scratch, out)
    else:
        for worker in numba.prange(workers):
            deform_part(images, numbers, stream, limits, down, across, np.intp(worker), workers, scratch, out)
