"""The tasks of a fit for scikit-learn's callbacks, such as `ScoringMonitor`; without effect before scikit-learn 1.9."""

from collections.abc import Callable
from typing import Any

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands for the mixin that scikit-learn has from version 1.9 on."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """Return the method."""
        return method


__all__ = ["CallbackSupportMixin", "Tasks", "with_callbacks"]


class Tasks:
    """The task of a fit, and the task of each of its epochs.

    `fitted` returns the attributes of the estimator as fitted after the last epoch.
    """

    fitted: Callable[[], dict[str, Any]]

    def __init__(self, estimator: Any, given: dict[str, Any]):
        self.estimator, self.given = estimator, given
        self.of_fit: Any = None
        self.of_epoch: Any = None

    def begin_fit(self, epochs: int) -> None:
        """Tell the callbacks that a fit of at most a number of epochs begins."""
        estimator = self.estimator
        # Without callbacks, a task for each epoch would only take time.
        if getattr(estimator, "_skl_callbacks", None) or hasattr(estimator, "_parent_callback_ctx"):
            self.of_fit = estimator._init_callback_context(max_subtasks=epochs)
            self.of_fit.call_on_fit_task_begin(estimator=estimator, **self.given)

    def begin_epoch(self) -> None:
        """Tell the callbacks that an epoch begins."""
        if self.of_fit is not None:
            self.of_epoch = self.of_fit.subcontext(task_name="epoch")
            self.of_epoch.call_on_fit_task_begin(estimator=self.estimator, **self.given)

    def end_epoch(self) -> bool:
        """Tell the callbacks that an epoch has ended; return whether one asks to stop."""
        return self.of_epoch is not None and self.end(self.of_epoch)

    def end_fit(self) -> None:
        """Tell the callbacks that the fit has ended."""
        if self.of_fit is not None:
            self.end(self.of_fit)

    def end(self, task: Any) -> bool:
        """Tell the callbacks that a task has ended; return whether one asks to stop."""
        return bool(
            task.call_on_fit_task_end(estimator=self.estimator, reconstruction_attributes=self.fitted, **self.given)
        )
