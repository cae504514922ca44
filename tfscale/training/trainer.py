"""Drives the loop through a whole run: logs, evaluates, saves, stops.

Everything periodic depends on the step number alone, so all processes of a job do the same things at the same steps,
and a resumed run does them where an uninterrupted one would.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tfscale.collectives.checksummed import require_equal
from tfscale.data.base import Data, Split
from tfscale.errors import EarlyEnd, RunError, UserError
from tfscale.supervision.phase import Phase
from tfscale.tracking.base import Tracker
from tfscale.training import nonfinite
from tfscale.training.callbacks import KerasCallbacks
from tfscale.training.checkpoints import Checkpoints
from tfscale.training.evaluator import Evaluator
from tfscale.training.loop import StepInfo, training_steps
from tfscale.training.metrics import RunMetrics
from tfscale.training.observer import Observer
from tfscale.training.state import RunState, digest

MIN_INTERVAL = 10
"""Least steps between two evaluations, or two checkpoints, that are not configured."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Length of a run, and its periodic actions.

    Attributes:
        steps: Optimizer steps of the whole run.
        epoch: Steps of one pass over the training examples.
        batch: B.
        seed: Of the order of examples.
        prefetch: Batches prepared ahead, for each replica.
        log_every: Steps between two log records.
        evaluate_every: Steps between two evaluations.
        checkpoint_every: Steps between two checkpoints.
        nonfinite: Reaction to a gradient that is not finite.
    """

    steps: int
    epoch: int
    batch: int
    seed: int
    prefetch: int
    log_every: int
    evaluate_every: int
    checkpoint_every: int
    nonfinite: nonfinite.Policy

    def logs(self, step: int) -> bool:
        """Returns whether there is a log record after a step, unless the run ends before it."""
        return step == self.steps or step % self.log_every == 0


def automatic_interval(epoch: int) -> int:
    """Steps between two evaluations, or two checkpoints, that are not configured: an epoch, or several short ones.

    An evaluation or a checkpoint costs as much as many steps of a small model, so the interval is the smallest multiple
    of an epoch that is not below `MIN_INTERVAL` steps.

    Args:
        epoch: Steps of an epoch.
    """
    return epoch * -(-MIN_INTERVAL // epoch)


def require_steps_left(plan: Plan, step: int) -> None:
    """Checks that a resumed run does not end before the step that it has completed.

    Args:
        plan: Of the resumed run.
        step: Optimizer steps completed.

    Raises:
        UserError: The plan ends before the step.
    """
    if plan.steps < step:
        raise UserError(
            f"train.steps or train.epochs must give at least {step:,} steps, which the run has completed, got "
            f"{plan.steps:,}; give a larger number, or another run.name to start from the beginning"
        )


class Trainer:
    """One run from where its state stands to the plan's last step.

    Args:
        state: What is trained.
        plan: Length and periodic actions.
        data: Examples. The test examples are used once, at the end.
        evaluator: Evaluates the consensus.
        checkpoints: Save the state.
        tracker: Gets the records.
        stop: Called after each step, with its number and a function that tells whether all processes synchronize at a
            step. Returns None to go on, `EarlyEnd` to end the run before its last step, or an exception to raise once
            the state is saved. All processes of the job must get the same result.
        heartbeat: Called with each phase that this process enters, and the steps completed.
        callbacks: Of the user's own; None in all processes but one.
        observer: Of the tensors of a replica; None in a run that does not ask, and in all processes but one.
    """

    def __init__(
        self,
        state: RunState,
        plan: Plan,
        *,
        data: Data,
        evaluator: Evaluator,
        checkpoints: Checkpoints,
        tracker: Tracker,
        stop: Callable[[int, Callable[[int], bool]], Exception | None],
        heartbeat: Callable[[Phase, int], None],
        callbacks: KerasCallbacks | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._observer = observer
        self._stop, self._heartbeat, self._callbacks = stop, heartbeat, callbacks
        self._state, self._plan, self._data = state, plan, data
        self._evaluator, self._checkpoints, self._tracker = evaluator, checkpoints, tracker
        examples = data.sizes[Split.TRAIN]
        self._metrics = RunMetrics(state, examples=examples, batch=plan.batch, tracker=tracker, observer=observer)
        self._nonfinite = nonfinite.NonFinite(plan.nonfinite, state, checkpoints, every=plan.checkpoint_every)
        self._ended = state.early_stopping.ended  # if it was restarted just after that

    def __call__(self) -> dict[str, Any]:
        """Trains to the end; returns results for summary.json. All processes of the job must call it."""
        began = time.perf_counter()
        steps = training_steps(
            self._state,
            self._data,
            shards=self._state.strategy.collective.size,
            batch=self._plan.batch,
            seed=self._plan.seed,
            prefetch=self._plan.prefetch,
            heartbeat=self._heartbeat,
            observer=self._observer,
        )
        if self._ended or self._state.step >= self._plan.steps:
            self._callbacks = None  # nothing is left to look on at
        if self._callbacks is not None:
            self._heartbeat(Phase.DISK, self._state.step)
            self._callbacks.begin(self._state.step)
        while self._state.step < self._plan.steps and not self._ended:
            self._after(next(steps))
        self._heartbeat(Phase.DISK, self._state.step)  # closing may run code of a user's pipeline
        steps.close()
        reason = None if self._metrics.is_validated else self._validate(again=True)
        if self._state.step < self._plan.steps and not self._metrics.has_reason:
            self._metrics.ended(reason or "early_stopping had ended it")
        if Split.TEST in self._data.sizes:
            self._evaluate(Split.TEST)
        self._heartbeat(Phase.DISK, self._state.step)
        self._checkpoints.finish(self._state)
        self._heartbeat(Phase.CLOSING, self._state.step)
        sha256 = self._synchronize()
        if self._callbacks is not None:
            self._callbacks.end()
        return {**self._metrics.results(sha256), "seconds": round(time.perf_counter() - began, 3)}

    def _after(self, info: StepInfo) -> None:
        self._metrics.note(info)
        self._handle_nonfinite(info)
        step, planned, reason = info.step, info.step == self._plan.steps, None
        logs = self._plan.logs(step)
        if logs:
            reason = self._log(info)
        asked = None if planned else self._stop(step, self._is_sync_step)  # after the log, which synchronizes
        if asked is not None and not isinstance(asked, EarlyEnd):
            if step % self._plan.evaluate_every == 0:  # due at this step, and not again when the run is resumed
                self._validate()
            self._leave(info, asked)
        reason = reason or (str(asked) if asked is not None else None)
        if planned or reason or step % self._plan.evaluate_every == 0:
            self._metrics.stop_clock(info)
            reason = self._validate() or reason  # before the save, which remembers it
            self._metrics.start_clock()
        last = planned or reason is not None
        if last and not logs:
            self._log(info)
        self._tracker.progress(step)
        if self._callbacks is not None:
            self._heartbeat(Phase.DISK, step)  # code of the user's own may take any time
            self._callbacks.after_step(info, is_last=last)
        if last or step % self._plan.checkpoint_every == 0 or self._is_best(step):
            self._metrics.stop_clock(info)
            self._save()
            self._metrics.start_clock()
        self._ended = last
        if reason is not None and not planned:
            self._metrics.ended(reason)

    def _handle_nonfinite(self, info: StepInfo) -> None:
        """Reacts to a gradient that was not finite."""
        if not self._nonfinite.has_to_act(info):
            return
        self._metrics.stop_clock(info)
        self._heartbeat(Phase.DISK, info.step)
        done = self._nonfinite.act(info)
        self._metrics.start_clock()
        if isinstance(done, RunError):
            self._leave(info, done)
        else:
            self._metrics.remark(info.step, done)

    def _leave(self, info: StepInfo, asked: Exception) -> None:
        """Saves the state, and raises the exception that stops the run."""
        self._metrics.stop_clock(info)
        self._save()
        self._heartbeat(Phase.DISK, info.step)
        self._checkpoints.finish(self._state)
        self._metrics.flush()
        raise asked

    def _is_best(self, step: int) -> bool:
        """Returns whether the evaluation after this step is the best so far, and its checkpoint is kept."""
        return self._state.early_stopping.keep_best and self._state.early_stopping.best_step == step

    def _is_sync_step(self, step: int) -> bool:
        """Returns whether all processes exchange something in this step, or right after it."""
        strategy = self._state.strategy
        return (
            strategy.exchanges_gradients
            or strategy.parameters_due(step)
            or step % self._plan.log_every == 0
            or step == self._plan.steps
        )

    def _log(self, info: StepInfo) -> str | None:
        """Returns why the run ends early because of the loss; None if it does not."""
        self._heartbeat(Phase.LOGGING, info.step)
        return self._state.early_stopping.after_log(self._metrics.log(info))

    def _save(self) -> None:
        self._heartbeat(Phase.DISK, self._state.step)
        self._checkpoints.wait()
        self._heartbeat(Phase.SAVING, self._state.step)
        self._checkpoints.save(self._state)

    def _validate(self, *, again: bool = False) -> str | None:
        """Returns why the run ends early because of the validation examples; None if it does not, or has none.

        Args:
            again: Whether the state has been evaluated before this process began.
        """
        if Split.VALIDATION not in self._data.sizes:
            return None
        state, measured = self._state, self._evaluate(Split.VALIDATION)
        if self._callbacks is not None:
            self._callbacks.validated(measured)
        change = None if state.plateau is None or again else state.plateau.after_evaluation(measured)
        if change is not None:
            self._metrics.remark(state.step, change)
        return state.early_stopping.after_evaluation(state.step, measured)

    def _evaluate(self, split: Split) -> dict[str, float]:
        self._heartbeat(Phase.EVALUATING, self._state.step)
        measured = self._evaluator(
            self._state.consensus(), split, lambda: self._heartbeat(Phase.EVALUATION_BATCH, self._state.step)
        )
        self._metrics.evaluated(split, measured)
        return measured

    def _synchronize(self) -> str:
        """Ends every replica with the consensus, and verifies that all hold the same parameters.

        Returns:
            sha256 of the parameters.

        Raises:
            ExchangeError: Replicas hold different parameters.
        """
        consensus = self._state.consensus()
        for replica in self._state.replicas:
            replica.assign(consensus)
        own = [digest(replica) for replica in self._state.replicas]
        require_equal(self._state.strategy.collective, own, "the parameters that replicas end with")
        return own[0]
