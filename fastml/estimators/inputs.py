"""Checks of X, labels and weights of examples; they accept what scikit-learn accepts."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import assert_all_finite
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d, validate_data

from fastml import checks
from fastml.arrays import RowSource, as_array

# A sparse matrix becomes dense a few rows at a time: see `fastml.slices.Rows`.
SPARSE_FORMATS = ["csr", "csc"]


class SparseRows:
    """The rows of a CSR matrix, which indexing returns as dense arrays."""

    def __init__(self, matrix: Any):
        self.matrix, self.shape, self.dtype = matrix, matrix.shape, matrix.dtype

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.shape[0])

    def __getitem__(self, rows: NDArray[Any] | slice) -> NDArray[Any]:
        """Return some rows as a dense array."""
        dense: NDArray[Any] = self.matrix[rows].toarray()
        return dense


def check_X(estimator: Any, X: Any) -> RowSource:
    """Return X, with the features that the estimator was fitted to, as the kernels read it."""
    X = validate_data(estimator, X, accept_sparse=SPARSE_FORMATS, ensure_all_finite=False, reset=False)
    return readable(X, "X")


def check_X_y(
    estimator: Any, X: Any, y: Any, reset: bool, names: tuple[str, str] = ("X", "y")
) -> tuple[RowSource, Any]:
    """Return X as the kernels read it, and y as a 1-D array of labels of any kind.

    With reset, the number and the names of the features of X become attributes of the estimator.
    """
    X, y = validate_data(
        estimator, X, y, accept_sparse=SPARSE_FORMATS, ensure_all_finite=False, multi_output=True, reset=reset
    )
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    check_classification_targets(y)
    if y.ndim == 2:
        raise ValueError(
            f"{names[1]} must hold one label for each row of {names[0]}, got {type_of_target(y)} targets of shape "
            f"{y.shape}; for several labels of a row, use scikit-learn's MLPClassifier"
        )
    return readable(X, names[0]), y


def readable(X: Any, name: str) -> RowSource:
    """Return a finite X as the kernels read it; the error for another X has scikit-learn's message and the place."""
    sparse = not isinstance(X, np.ndarray)
    if sparse:
        X = X.tocsr()
    try:
        assert_all_finite(X, input_name=name)
    except ValueError as error:
        raise ValueError(f"{error}\n{first_place(X, name)}") from None
    if sparse:
        return SparseRows(X)
    # Of the dtypes that `validate_data` accepts, long double is the only one that the kernels do not read.
    dense: NDArray[Any] = X.astype(np.float64) if X.dtype.itemsize > 8 else X
    return dense


def first_place(X: Any, name: str) -> str:
    """Return where X is not finite, in words."""
    if isinstance(X, np.ndarray):
        return f"{checks.first_not_finite(X.dtype, **{name: X})}."
    first = int(np.argmin(np.isfinite(X.data)))
    row = int(np.searchsorted(X.indptr, first, side="right")) - 1
    return f"{name}[{row}, {X.indices[first]}] is {X.data[first]}."


def check_all_classes(classes: ArrayLike | None, known: NDArray[Any] | None) -> NDArray[Any]:
    """Return the sorted classes of all calls of `partial_fit`: given in the first call, known in the others."""
    if classes is None:
        if known is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        return known
    classes = np.unique(as_array("classes", classes))
    if known is not None and not np.array_equal(classes, known):
        raise ValueError(f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {known!r}")
    return classes


def check_classes(y: NDArray[Any], known: NDArray[Any] | None, all_classes: NDArray[Any] | None) -> NDArray[Any]:
    """Return the sorted classes of a fit: those of y, or of all calls of `partial_fit`.

    A fit that continues an earlier one must have the same classes.
    """
    found = np.unique(y) if all_classes is None else all_classes
    if known is not None and not np.array_equal(found, known):
        raise ValueError(
            "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously got "
            f"{known}, `y` has {found}"
        )
    if len(found) < 2:
        raise ValueError(f"at least 2 classes are needed, and the data has only one class: {found[0]!r}")
    return found


def encoded(y: NDArray[Any], classes: NDArray[Any], name: str = "y") -> NDArray[np.int64]:
    """Return labels as indices of the sorted classes; reject labels that are none of them."""
    unknown = np.setdiff1d(y, classes)
    if unknown.size:
        raise ValueError(
            f"`{name}` has classes not in `self.classes_`. `self.classes_` has {classes}. `{name}` has {unknown}."
        )
    return np.searchsorted(classes, y).astype(np.int64)


def weights_of_examples(
    sample_weight: ArrayLike | None,
    class_weight: Mapping[Any, float] | str | None,
    labels: NDArray[np.int64],
    classes: NDArray[Any],
) -> NDArray[np.float64] | None:
    """Return the weight of each example, the product of its own weight and that of its class, or None for all 1."""
    weights = None
    if sample_weight is not None:
        if isinstance(sample_weight, Real):
            sample_weight = np.full(labels.size, sample_weight)
        weights = checks.check_sample_weight(sample_weight, labels.size)
        if weights is not None and not weights.any():
            raise ValueError("all elements of sample_weight are zero; at least one example must have a weight")
    if class_weight is None:
        return weights
    of_class = compute_class_weight(class_weight, classes=classes, y=classes[labels])
    of_rows: NDArray[np.float64] = of_class[labels]
    return of_rows if weights is None else weights * of_rows
