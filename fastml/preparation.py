"""What a run needs before its first epoch: checked sets and settings, weights of examples, initial weights."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml import advice, checks, scalars
from fastml.arrays import RowSource
from fastml.datasets.kernels.deformation import MOST_PIXELS
from fastml.models import Model
from fastml.options import Options
from fastml.runs import held_out
from fastml.schedules import check_schedule
from fastml.settings import CheckedSettings, LabelledSet, Settings
from fastml.weights import Weights

# Rows whose mean and deviation are computed at a time: 13 MB of MNIST in float64.
STANDARDIZED_ROWS = 2048


# Weights of classes by their labels.
ClassWeight = Mapping[int, float] | Literal["balanced"]


class TrainingData(NamedTuple):
    """The examples among the arguments of a training function, with their weights and their standardization."""

    X_tr: ArrayLike
    y_tr: ArrayLike
    X_te: ArrayLike | None
    y_te: ArrayLike | None
    sample_weight: ArrayLike | None
    class_weight: ClassWeight | None
    standardize: bool


class StartWeights(NamedTuple):
    """The arguments of a training function that say which weights the run begins with."""

    weights: Sequence[NDArray[Any]] | None
    bias: bool
    hidden_dim: int | None = None  # None for a model without hidden units


def prepare(
    model: Model, data: TrainingData, start: StartWeights, settings: Settings[Options]
) -> tuple[LabelledSet, LabelledSet | None, Weights, CheckedSettings]:
    """Check the arguments of a training function; return both sets, the weights to begin with, and the settings."""
    given = check_start(start.weights, model)
    train_set, test_set, num_classes = check_sets(data, given)
    checked = transform_of_start(given, check_settings(settings, train_set.X))
    if scalars.check_flag("standardize", data.standardize):
        checked = standardized(checked, train_set.X)
    weighting = weights_of_examples(data.sample_weight, data.class_weight, train_set.y, num_classes)
    weights = first_weights(given, start, model, (train_set.X.shape[1], num_classes), checked)
    return train_set._replace(sample_weight=weighting), test_set, weights, checked


def first_weights(
    given: Weights | None, start: StartWeights, model: Model, sizes: tuple[int, int], settings: CheckedSettings
) -> Weights:
    """Return the weights that a run begins with, of sizes (input_dim, num_classes): the given or initial weights.

    If the model has biases and the given weights do not, biases of 0 are added.
    """
    weights: Sequence[NDArray[Any]]
    if given is not None:
        weights, biases = given, given.biases
    else:
        hidden = () if start.hidden_dim is None else (scalars.check_integer("hidden_dim", start.hidden_dim, minimum=1),)
        weights, biases = initial_weights((sizes[0], *hidden, sizes[1]), settings.seed), {}
    if scalars.check_flag("bias", start.bias):
        zeros = {name: np.zeros(W.shape[1], W.dtype) for name, W in zip(model.bias_names, weights, strict=True)}
        biases = zeros | biases
    return Weights(weights, biases, settings.options.scale, settings.options.shift)


def check_sets(data: TrainingData, start: Weights | None) -> tuple[LabelledSet, LabelledSet | None, int]:
    """Check the sets; return them as arrays, and the number of classes: that of the start weights if there are any."""
    input_dim, num_classes = (None, None) if start is None else (len(start[0]), start[-1].shape[1])
    X = checks.check_features(data.X_tr, input_dim, name="X_tr")
    checks.check_examples(X, name="X_tr")
    y = checks.check_labels(data.y_tr, X.shape[0], num_classes, name="y_tr")
    if num_classes is None:
        num_classes = int(y.max()) + 1
        advice.warn_of_gaps(y, num_classes, name="y_tr")
    return LabelledSet(X, y), check_test_set(data.X_te, data.y_te, X.shape[1], num_classes), num_classes


def check_test_set(
    X_te: ArrayLike | None, y_te: ArrayLike | None, input_dim: int, num_classes: int
) -> LabelledSet | None:
    """Check the test set if there is one."""
    if (X_te is None) != (y_te is None):
        given, missing = ("y_te", "X_te") if X_te is None else ("X_te", "y_te")
        raise TypeError(f"{given} is given without {missing}; pass both, or neither for no test set")
    if X_te is None or y_te is None:
        return None
    X = checks.check_features(X_te, input_dim, name="X_te")
    checks.check_examples(X, name="X_te")
    return LabelledSet(X, checks.check_labels(y_te, X.shape[0], num_classes, name="y_te"))


def check_settings(settings: Settings[Options], X: NDArray[Any]) -> CheckedSettings:
    """Check the settings of a run on X."""
    options = settings.options.checked(X.shape[1])
    seed = scalars.check_integer("seed", settings.seed, minimum=0)
    if seed >= 2**32:
        raise ValueError(f"seed must be below 2**32, got {seed}")
    fraction = scalars.check_fraction("validation_fraction", settings.validation_fraction)
    if fraction and len(X) < 2:
        raise ValueError("validation_fraction needs at least two rows of X_tr")
    patience = settings.patience
    if patience is not None:
        patience = scalars.check_integer("patience", patience, minimum=0)
    restore_best = scalars.check_flag("restore_best", settings.restore_best)
    if not fraction and (patience is not None or restore_best):
        raise ValueError("patience and restore_best need validation_fraction, the part of X_tr to hold out")
    return Settings(
        epochs=scalars.check_integer("epochs", settings.epochs, minimum=0),
        options=options,
        shuffle=scalars.check_flag("shuffle", settings.shuffle),
        seed=seed,
        schedule=check_schedule(settings.schedule),
        warmup_epochs=scalars.check_integer("warmup_epochs", settings.warmup_epochs, minimum=0),
        deform=None if settings.deform is None else check_image_shape(settings.deform, X),
        validation_fraction=fraction,
        patience=patience,
        min_delta=scalars.check_at_least("min_delta", settings.min_delta, 0.0),
        restore_best=restore_best,
    )


def check_image_shape(deform: Sequence[int], X: NDArray[Any]) -> list[int]:
    """Return the rows and columns of the images in X; reject images that `fastml.datasets.deform` does not accept."""
    shape = [scalars.check_integer("each of deform", side, minimum=1) for side in deform]
    if len(shape) != 2 or math.prod(shape) != X.shape[1]:
        raise ValueError(f"deform must be rows and columns of images of {X.shape[1]} pixels, got {tuple(deform)}")
    if X.dtype != np.uint8:
        raise TypeError(f"X_tr must be uint8 where deform is given, got {X.dtype}")
    checks.check_images(X.reshape(-1, *shape), MOST_PIXELS)
    return shape


def weights_of_examples(
    sample_weight: ArrayLike | None, class_weight: ClassWeight | None, y: NDArray[Any], num_classes: int
) -> NDArray[np.float64] | None:
    """Return the weight of each example, the product of its own weight and that of its class, or None for all 1."""
    weights = checks.check_sample_weight(sample_weight, y.size)
    of_class: NDArray[np.float64]
    if class_weight is None:
        return weights
    if isinstance(class_weight, str):
        scalars.check_choice("class_weight", class_weight, ("balanced",))
        counts = np.bincount(y, minlength=num_classes)
        of_class = y.size / (np.count_nonzero(counts) * np.maximum(counts, 1))
    elif isinstance(class_weight, Mapping):
        of_class = np.ones(num_classes)
        for label, weight in class_weight.items():
            label = scalars.check_integer("each label of class_weight", label, minimum=0)
            if label >= num_classes:
                raise ValueError(f"class_weight has label {label}; there are {num_classes} classes")
            of_class[label] = scalars.check_at_least(f"class_weight[{label}]", weight, 0.0)
    else:
        raise TypeError(f"class_weight must be None, 'balanced' or a dict of labels, got {type(class_weight).__name__}")
    of_rows: NDArray[np.float64] = of_class[y]
    return of_rows if weights is None else weights * of_rows


def check_start(weights: Sequence[NDArray[Any]] | None, model: Model) -> Weights | None:
    """Return a copy of the weights to continue from, or None; reject weights of another model."""
    if weights is None:
        return None
    given = weights if isinstance(weights, Weights) else Weights(weights)
    if given.parameters.model is not model:
        raise TypeError(f"weights must be {' and '.join(model.weight_names)}, got {len(given)} arrays")
    copies = [np.array(W, W.dtype.newbyteorder("="), order="C") for W in given]
    biases = {name: np.array(b, b.dtype.newbyteorder("=")) for name, b in given.biases.items()}
    return Weights(copies, biases, given.scale, given.shift)


def transform_of_start(start: Weights | None, settings: CheckedSettings) -> CheckedSettings:
    """Return settings with the scale and the shift of the weights to continue from; reject other given ones."""
    if start is None:
        return settings
    scale, shift = start.transform_beside(settings.options.scale, settings.options.shift)
    return settings._replace(options=replace(settings.options, scale=scale, shift=shift))


def standardized(settings: CheckedSettings, X: NDArray[Any]) -> CheckedSettings:
    """Return settings with the mean of the rows to train on as shift, and 1 / their deviation as scale."""
    options = settings.options
    if np.any(np.asarray(options.scale) != 1) or np.any(np.asarray(options.shift)):
        raise ValueError("standardize computes scale and shift; leave both out")
    rows, _ = held_out(len(X), settings.validation_fraction, settings.seed)
    mean, deviation = mean_and_deviation(X, rows)
    return settings._replace(options=replace(options, scale=1 / deviation, shift=mean))


def mean_and_deviation(
    X: RowSource, rows: NDArray[Any] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean and the deviation of each feature, of all rows or some; a constant feature has deviation 1.

    Each row is read once. Chan, Golub and LeVeque, *Updating formulae and a pairwise algorithm for computing sample
    variances* (1979), equation 2.1.
    """
    total = len(X) if rows is None else len(rows)
    count, mean, squares = 0, np.zeros(X.shape[1]), np.zeros(X.shape[1])
    for start in range(0, total, STANDARDIZED_ROWS):
        part = slice(start, start + STANDARDIZED_ROWS) if rows is None else rows[start : start + STANDARDIZED_ROWS]
        numbers = X[part].astype(np.float64)
        new = len(numbers)
        new_mean = numbers.mean(axis=0)
        numbers -= new_mean
        distance = new_mean - mean
        squares += np.einsum("ij,ij->j", numbers, numbers) + distance**2 * (count * new / (count + new))
        mean += distance * (new / (count + new))
        count += new
    deviation = np.sqrt(squares / count)
    # Rounding leaves a constant feature with a deviation of some units in the last place of its mean.
    constant = deviation <= 8 * np.finfo(np.float64).eps * np.abs(mean)
    return mean, np.where(constant, 1.0, deviation)


def initial_weights(shape: tuple[int, ...], seed: int) -> list[NDArray[Any]]:
    """Return hw0's initial weights in float32; shape is (inputs, ..., outputs). One layer has zeros.

    The layers of a network have standard normal numbers, divided by the square root of the layer's outputs.
    """
    if len(shape) == 2:
        return [np.zeros(shape, np.float32)]
    # RandomState, not the newer Generator: hw0's published numbers come from RandomState.
    random = np.random.RandomState(seed)
    return [
        random.randn(inputs, outputs).astype(np.float32) / np.float32(np.sqrt(outputs))
        for inputs, outputs in itertools.pairwise(shape)
    ]
