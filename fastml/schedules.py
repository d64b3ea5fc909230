"""Schedules: the step size of each epoch."""

import math
from collections.abc import Callable
from typing import Literal

from fastml import scalars

ScheduleName = Literal["constant", "step", "cosine"]
SCHEDULES: tuple[ScheduleName, ...] = ("constant", "step", "cosine")

# A name, or a function that is called as schedule(epoch, epochs) and returns a factor of the step size.
Schedule = ScheduleName | Callable[[int, int], float]


def check_schedule(schedule: Schedule) -> Schedule:
    """Return a schedule if it is one of the names or can be called."""
    return schedule if callable(schedule) else scalars.check_choice("schedule", schedule, SCHEDULES)


def scheduled_lr(schedule: Schedule, lr: float, epoch: int, epochs: int, warmup_epochs: int = 0) -> float:
    """Return the step size of an epoch.

    Parameters
    ----------
    schedule : {"constant", "step", "cosine"} or callable
        "constant": ``lr`` in every epoch. "step": a tenth of ``lr`` from half of the epochs on, a hundredth from three
        quarters on. "cosine": ``lr / 2 * (1 + cos(pi * epoch / epochs))``, which falls from ``lr`` nearly to 0. A
        callable is called as ``schedule(epoch, epochs)`` and returns the factor of ``lr``, a finite number.
    lr : float
        Step size of the first epoch.
    epoch, epochs : int
        The number of the epoch, from 0, and the number of all epochs.
    warmup_epochs : int
        Epochs in which the step size first rises: ``lr * (epoch + 1) / (warmup_epochs + 1)``. The schedule begins after
        them, with the epochs that are left.

    Returns
    -------
    float
        The step size.

    Raises
    ------
    TypeError, ValueError
        If a callable returns no finite real number.

    References
    ----------
    step: He, Zhang, Ren and Sun, *Deep residual learning for image recognition* (2016), section 4.2. cosine: Loshchilov
    and Hutter, *SGDR: stochastic gradient descent with warm restarts* (2017), equation 5, for a single descent.
    Warm-up: Goyal et al., *Accurate, large minibatch SGD: training ImageNet in 1 hour* (2017), section 2.2.

    Examples
    --------
    >>> from fastml.schedules import scheduled_lr
    >>> [round(scheduled_lr("step", 0.5, epoch, 4), 6) for epoch in range(4)]
    [0.5, 0.5, 0.05, 0.005]
    >>> [round(scheduled_lr("cosine", 0.5, epoch, 4), 6) for epoch in range(4)]
    [0.5, 0.426777, 0.25, 0.073223]
    >>> [round(scheduled_lr("constant", 0.6, epoch, 4, warmup_epochs=2), 6) for epoch in range(4)]
    [0.2, 0.4, 0.6, 0.6]
    >>> [scheduled_lr(lambda epoch, epochs: 1 - epoch / epochs, 0.5, epoch, 4) for epoch in range(4)]
    [0.5, 0.375, 0.25, 0.125]
    """
    if epoch < warmup_epochs:
        return lr * (epoch + 1) / (warmup_epochs + 1)
    epoch, epochs = epoch - warmup_epochs, epochs - warmup_epochs
    if callable(schedule):
        return lr * scalars.check_real("the factor that schedule returns", schedule(epoch, epochs))
    if schedule == "step":
        return lr / float(10 ** ((2 * epoch >= epochs) + (4 * epoch >= 3 * epochs)))
    if schedule == "cosine":
        return lr / 2 * (1 + math.cos(math.pi * epoch / epochs))
    return lr
