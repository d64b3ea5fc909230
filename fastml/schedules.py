"""Schedules: the step size of each epoch."""

import math

SCHEDULES = ("constant", "step", "cosine")


def scheduled_lr(schedule: str, lr: float, epoch: int, epochs: int) -> float:
    """Return the step size of an epoch.

    Parameters
    ----------
    schedule : {"constant", "step", "cosine"}
        "constant": ``lr`` in every epoch. "step": a tenth of ``lr`` from half of the epochs on, a hundredth from three
        quarters on. "cosine": ``lr / 2 * (1 + cos(pi * epoch / epochs))``, which falls from ``lr`` nearly to 0.
    lr : float
        Step size of the first epoch.
    epoch, epochs : int
        The number of the epoch, from 0, and the number of all epochs.

    Returns
    -------
    float
        The step size.

    References
    ----------
    step: He, Zhang, Ren and Sun, *Deep residual learning for image recognition* (2016), section 4.2. cosine: Loshchilov
    and Hutter, *SGDR: stochastic gradient descent with warm restarts* (2017), equation 5, for a single descent.

    Examples
    --------
    >>> from fastml.schedules import scheduled_lr
    >>> [round(scheduled_lr("step", 0.5, epoch, 4), 6) for epoch in range(4)]
    [0.5, 0.5, 0.05, 0.005]
    >>> [round(scheduled_lr("cosine", 0.5, epoch, 4), 6) for epoch in range(4)]
    [0.5, 0.426777, 0.25, 0.073223]
    """
    if schedule == "step":
        return lr / 10 ** ((2 * epoch >= epochs) + (4 * epoch >= 3 * epochs))
    if schedule == "cosine":
        return lr / 2 * (1 + math.cos(math.pi * epoch / epochs))
    return lr
