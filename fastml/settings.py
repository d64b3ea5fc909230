"""The input of a run: sets of examples, and the settings that determine the result."""

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastml.checkpoints import fingerprint
from fastml.options import CheckedOptions, Options
from fastml.schedules import Schedule

OptionsT = TypeVar("OptionsT", bound=Options)


class LabelledSet(NamedTuple):
    """Examples, their labels, and their weights if they have any."""

    X: NDArray[Any]
    y: NDArray[Any]
    sample_weight: NDArray[Any] | None = None


class Settings(NamedTuple, Generic[OptionsT]):
    """Settings of a run, with its options as they are given or after their checks.

    With the sets and the initial weights, they determine the result of a run bit for bit.
    """

    epochs: int
    options: OptionsT
    shuffle: bool
    seed: int
    schedule: Schedule
    warmup_epochs: int
    deform: Sequence[int] | None
    validation_fraction: float
    patience: int | None
    min_delta: float
    restore_best: bool


CheckedSettings: TypeAlias = Settings[CheckedOptions]


def describe(settings: CheckedSettings) -> dict[str, object]:
    """Return the settings that a resumed run must share with the run that saved the checkpoint."""
    options = settings.options
    if callable(settings.schedule):
        schedule = f"function {getattr(settings.schedule, '__qualname__', type(settings.schedule).__qualname__)}"
    else:
        schedule = str(settings.schedule)
    # A resumed run may have more epochs, unless the schedule depends on their number.
    if schedule != "constant":
        schedule += f" over {settings.epochs} epochs"
    return {
        "lr": options.lr,
        "batch": options.batch,
        "scale": digest_of(options.scale),
        "shift": digest_of(options.shift),
        "last_batch": options.last_batch,
        "l2": options.l2,
        "optimizer": repr(options.optimizer),
        "seed": settings.seed,
        "schedule": schedule,
        "warmup_epochs": settings.warmup_epochs,
    }


def digest_of(value: float | NDArray[Any]) -> object:
    """Return a number as it is, and an array as its digest."""
    return value if np.ndim(value) == 0 else fingerprint(np.asarray(value)[None], np.asarray(value))
