"""A run of local SGD: in each round all shards train from the same weights, and the driver averages the results.

T. Lin, S. U. Stich, K. K. Patel and M. Jaggi, *Don't use large mini-batches, use local SGD* (2020): plain averaging.
A. Douillard et al., *DiLoCo: distributed low-communication training of language models* (2023): the outer step.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from fastml import callbacks, checks, scalars
from fastml.callbacks import Callback
from fastml.checkpoints import Checkpoint, CheckpointError, RunState, fingerprint
from fastml.dask.cluster import Cluster
from fastml.dask.tasks import Evaluated, Facts, Plan, Trained, evaluate_shard, parts_of, train_shard
from fastml.history import EpochResult, History, table_head
from fastml.models import Parameters
from fastml.optimizers import SGD, Momentum, Optimizer
from fastml.options import Progress
from fastml.schedules import scheduled_lr
from fastml.settings import CheckedSettings, LabelledSet, describe
from fastml.verdicts import ModelInput, loss_err_of_model
from fastml.weights import Weights


class Averaging(NamedTuple):
    """How long a shard trains in a round, and how the average of the shards' weights changes the weights."""

    local_steps: int | None
    outer: SGD | Momentum
    outer_lr: float


def check_averaging(local_steps: int | None, outer: Optimizer | None, outer_lr: float) -> Averaging:
    """Return the settings after their checks, with an optimizer that has no state yet."""
    outer = SGD() if outer is None else outer
    if not isinstance(outer, SGD | Momentum):
        raise TypeError(f"outer must be SGD() or Momentum(), got {outer!r:.80}")
    outer.check()
    return Averaging(
        None if local_steps is None else scalars.check_integer("local_steps", local_steps, minimum=1),
        replace(outer, state={}, steps=np.zeros(1, np.int64)),
        scalars.check_real("outer_lr", outer_lr),
    )


class Rounds:
    """Trains the weights of a history in rounds, in place, and fills its rows."""

    def __init__(
        self,
        cluster: Cluster,
        facts: Sequence[Facts],
        test_set: LabelledSet | None,
        weights: Weights,
        settings: CheckedSettings,
        averaging: Averaging,
    ):
        self.cluster, self.facts, self.test_set = cluster, facts, test_set
        self.settings, self.averaging = settings, averaging
        self.progress: Progress | None = None
        self.history, self.parameters = History(weights), weights.parameters
        self.state = RunState(self.history, averaging.outer)
        self.checkpoint: Checkpoint | None = None

    @contextmanager
    def kept_in(self, directory: str | os.PathLike[str], resume: bool) -> Iterator[None]:
        """Save the state in a directory after each round of the block; with resume, first load the saved state."""
        num_examples = sum(facts.num_examples for facts in self.facts)
        self.checkpoint = Checkpoint(directory, self.describe(), num_examples, self.settings.options.batch)
        with self.checkpoint.held():
            if resume and self.checkpoint.path.exists():
                self.checkpoint.load(self.state)
                if len(self.history) > self.settings.epochs:
                    raise CheckpointError(
                        f"{self.checkpoint.path} has {len(self.history)} rounds; rounds must be at least as many, got "
                        f"{self.settings.epochs}"
                    )
            else:
                self.checkpoint.begin(self.state)
            yield

    def describe(self) -> dict[str, object]:
        """Return the properties that a resumed run must share with the run that saved the checkpoint."""
        return {
            "weights of shapes": [list(W.shape) for W in self.parameters.named().values()],
            "biases": list(self.history.weights.biases),
            "shards": [facts.fingerprint for facts in self.facts],
            "test set": None if self.test_set is None else fingerprint(*self.test_set),
            **describe(self.settings),
            "local_steps": self.averaging.local_steps,
            "outer": repr(self.averaging.outer),
            "outer_lr": self.averaging.outer_lr,
        }

    def train(self, verbose: bool, called: list[Callback]) -> History:
        """Run the remaining rounds. After each, add a row to the history, print a line and call the callbacks."""
        if verbose:
            print(table_head(False, self.test_set is not None).replace("Epoch", "Round"))
        sent = self.cluster.send(self.history.weights)
        for number in range(len(self.history), self.settings.epochs):
            began = time.perf_counter()
            outer_step(self.parameters, self.train_shards(number, sent), self.averaging)
            seconds = time.perf_counter() - began
            sent = self.cluster.send(self.history.weights)
            self.history.rows.append(self.evaluate_sets(number, sent, seconds))
            if self.checkpoint is not None:
                self.checkpoint.save(self.state, 0, 0.0)
            if verbose:
                print(self.history[-1], flush=True)
            if callbacks.asks_to_stop(called, self.history):
                break
        callbacks.end(called, self.history)
        return self.history

    def train_shards(self, number: int, sent: object) -> list[Trained]:
        """Return the weights of each shard after its training in a round."""
        settings = self.settings
        lr = scheduled_lr(settings.schedule, settings.options.lr, number, settings.epochs, settings.warmup_epochs)
        options = replace(settings.options, lr=lr)
        plan = Plan(options, settings.seed, number, self.averaging.local_steps, self.progress is not None)
        parts = (part for facts in self.facts for part in parts_of(facts.num_examples, plan))
        total = sum(stop - start for _, start, stop in parts)
        return self.cluster.collect(train_shard, self.counting(total), weights=sent, plan=plan)

    def evaluate_sets(self, number: int, sent: object, seconds: float) -> EpochResult:
        """Evaluate the model on the shards and the test set; reject a loss that is not finite."""
        total = sum(facts.num_examples for facts in self.facts)
        shards: list[Evaluated] = self.cluster.collect(evaluate_shard, self.counting(total), weights=sent)
        losses = {"training": math.fsum(shard.num_examples / total * shard.loss for shard in shards)}
        err = math.fsum(shard.num_examples * shard.err for shard in shards) / total
        reasons = [shard.reason for shard in shards if shard.reason]
        test_loss = test_err = None
        if self.test_set is not None:
            weights, (X, y, _) = self.history.weights, self.test_set
            test_loss, test_err = loss_err_of_model(
                ModelInput(self.parameters, X, weights.scale, weights.shift), y, None
            )
            losses["test"] = test_loss
            if not math.isfinite(test_loss):
                reasons.append(checks.first_not_finite(weights[0].dtype, X_te=X) or "")
        for which, loss in losses.items():
            if not math.isfinite(loss):
                grown = "the weights have grown without bound; a smaller lr (or X scaled to [0, 1]) may help"
                reason = next(filter(None, reasons), grown)
                raise FloatingPointError(f"the {which} loss is {loss} after round {number}: {reason}")
        return EpochResult(number, losses["training"], err, test_loss, test_err, None, None, seconds)

    def counting(self, total: int) -> Callable[[int, Trained | Evaluated], object] | None:
        """Return a function that calls `progress` when a shard is done, with the mean loss of the finished shards."""
        progress = self.progress
        if progress is None:
            return None
        done, losses = 0, 0.0

        def count(number: int, result: Trained | Evaluated) -> None:
            nonlocal done, losses
            done, losses = done + result.num_examples, losses + result.num_examples * result.loss
            progress(done, total, losses / done)

        return count


def outer_step(parameters: Parameters, results: Sequence[Trained], averaging: Averaging) -> None:
    """Change the parameters in place by the average of the shards' weights, computed in float64 in their order.

    An example weighs the same in each shard. The average minus the weights is the step that the outer optimizer takes,
    times outer_lr.
    """
    outer, total = averaging.outer, sum(result.num_examples for result in results)
    with np.errstate(over="ignore", invalid="ignore"):  # numbers that are not finite show in the losses
        for index, (name, W) in enumerate(parameters.named().items()):
            mean = np.zeros(W.shape)
            for result in results:
                mean += result.num_examples / total * result.arrays[index].astype(np.float64)
            change = mean - W
            step = averaging.outer_lr * change
            if isinstance(outer, Momentum):
                (velocity,) = outer.states_of(name, W)
                moved = outer.momentum * velocity.astype(np.float64) + step
                velocity[...] = moved
                step = outer.momentum * moved + step if outer.nesterov else moved
            # In this form plain averaging, where step and change are equal, is exact.
            W[...] = mean + (step - change)
    outer.steps += 1
