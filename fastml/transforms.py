"""How the kernels compute scale * (X - shift), so that a feature that is mostly one number stays sparse."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastml.arrays import RowSource
from fastml.kernels.input import Transform
from fastml.kernels.panels import whole_masks

# Backgrounds are found from a sample of SAMPLED_ROWS rows, if X has LEAST_ROWS or more. A feature's background makes up
# at least LEAST_SHARE of its numbers. Backgrounds are used if they add at least LEAST_GAIN to the share of zeros.
SAMPLED_ROWS, LEAST_ROWS = 32, 1000
LEAST_GAIN, LEAST_SHARE = 0.1, 0.2


def transform_of(
    X: RowSource,
    scale: float | NDArray[Any],
    shift: float | NDArray[Any],
    dtype: DTypeLike,
    background: NDArray[Any] | None,
) -> Transform:
    """Return the transform of X by scale and shift, in the dtype of the weights.

    ``scale * (X - shift)`` is ``scale * (X - background) + offset``: the first term is zero where X is at its
    background, the second is the same for all rows. If a feature of floats has no background, its shift is subtracted
    from X itself, because a large offset would cost digits. Bytes lose no digits.
    """
    if not np.any(shift) and np.ndim(scale) == 0 and not (background is not None and np.nan_to_num(background).any()):
        return scaling(float(scale), X.shape[1], np.dtype(dtype))
    shift = np.broadcast_to(np.asarray(shift, np.float64), X.shape[1])
    scale = np.broadcast_to(np.asarray(scale, np.float64), X.shape[1])
    background = np.full(X.shape[1], np.nan) if background is None else background
    if X.dtype != np.uint8:
        background = np.where(np.isnan(background), shift, background)
    with np.errstate(over="ignore"):  # numbers beyond the range of float32 become infinity, as in NumPy
        background = np.nan_to_num(background, nan=0.0).astype(dtype)
        offset = (background.astype(np.float64) - shift) * scale
        vectors = [padded_row(row, dtype) for row in (scale, background, offset)]
    is_identity = bool((scale == 1).all() and not background.any())
    return Transform(vectors[0], vectors[1], vectors[2][:, : None if offset.any() else 0].copy(), is_identity)


@lru_cache(maxsize=16)
def scaling(scale: float, input_dim: int, dtype: np.dtype[Any]) -> Transform:
    """Return the transform of X by a number alone. Most calls have the same number, so the transform is cached."""
    with np.errstate(over="ignore"):
        factor = padded_row(np.full(input_dim, scale), dtype)
    return Transform(factor, np.zeros_like(factor), np.zeros((1, 0), dtype), scale == 1)


def padded_row(row: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """Return a row of features in a dtype, padded with zeros to whole masks: (1, features)."""
    padded = np.zeros((1, whole_masks(row.size)), dtype)
    padded[0, : row.size] = row
    return padded


def backgrounds_of(X: RowSource) -> NDArray[np.float64] | None:
    """Return the background of each feature, (features,), NaN for a feature without one; None if no feature has one.

    A feature's background is its most frequent number in a sample of the rows, if this number is frequent enough. If a
    third of X is zero, zero is the background. An X of few rows has no backgrounds: the search would take longer than
    the training.
    """
    if len(X) < LEAST_ROWS:
        return None
    sample = X[np.arange(SAMPLED_ROWS) * (len(X) - 1) // (SAMPLED_ROWS - 1)]
    zeros = (sample == 0).sum(axis=0)
    most, frequent = np.ones_like(zeros), sample[0]
    if 3 * zeros.sum() < sample.size:
        sample = np.sort(sample.T.copy(), axis=1)  # numbers side by side are sorted much faster
        place = np.arange(1, SAMPLED_ROWS, dtype=np.uint8)
        breaks = (sample[:, 1:] != sample[:, :-1]) * place
        runs = place - np.maximum.accumulate(breaks, axis=1)  # how many equal numbers stand before each
        longest = runs.argmax(axis=1)
        features = np.arange(len(sample))
        most, frequent = runs[features, longest].astype(np.int64) + 1, sample[features, longest + 1]
    if most.sum() - zeros.sum() < LEAST_GAIN * sample.size:
        frequent, most = np.zeros_like(frequent), zeros
    found = (most >= LEAST_SHARE * SAMPLED_ROWS) & np.isfinite(frequent)
    return np.where(found, frequent, np.nan) if found.any() else None


def is_subnormal(transform: Transform) -> bool:
    """Return whether a factor is so small that the kernels would treat the factor as zero."""
    if transform.is_identity:
        return False
    factor = np.abs(transform.factor)
    return bool(((factor > 0) & (factor < np.finfo(factor.dtype).smallest_normal)).any())


def unchanged(transform: Transform) -> Transform:
    """Return the transform of rows that are factor * (X - background) already: only the offset is left."""
    zeros = np.zeros_like(transform.background)
    return Transform(zeros + 1, zeros, transform.offset, True)


def reads_in_place(transform: Transform, X: RowSource) -> bool:
    """Return whether one factor can multiply the products instead of X. Floats may overflow without their factor."""
    if transform.is_identity or X.dtype != np.uint8:
        return transform.is_identity
    factor = transform.factor[0, : X.shape[1]]
    return bool((factor == factor[0]).all()) and not transform.background.any()
