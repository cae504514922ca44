"""Drives the loop through a whole run: logs, evaluates, saves, stops.

What happens every how many steps is decided here from the step number alone, so all processes of a job do the same
things at the same steps.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tfscale.collectives.checksummed import require_equal
from tfscale.data.base import Data
from tfscale.errors import EarlyEnd, RunError
from tfscale.supervision.phase import Phase
from tfscale.tracking.base import Tracker
from tfscale.training import nonfinite
from tfscale.training.checkpoints import Checkpoints
from tfscale.training.evaluator import Evaluator
from tfscale.training.loop import StepInfo, training_steps
from tfscale.training.metrics import RunMetrics
from tfscale.training.state import RunState, digest


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do when.

    Attributes:
        steps: Optimizer steps of the whole run.
        batch: B.
        seed: Of the order of examples.
        prefetch: Batches prepared ahead, a replica.
        log_every: Steps between two log records.
        evaluate_every: Steps between two evaluations.
        checkpoint_every: Steps between two checkpoints.
        nonfinite: What to do after a gradient that is not finite.
    """

    steps: int
    batch: int
    seed: int
    prefetch: int
    log_every: int
    evaluate_every: int
    checkpoint_every: int
    nonfinite: nonfinite.Policy


class Trainer:
    """One run from where its state stands to the plan's last step.

    Args:
        state: What is trained.
        plan: What to do when.
        data: Training data.
        evaluator: Measures the consensus.
        checkpoints: Where state is saved.
        tracker: Gets the records.
        stop: Asked after each step, with its number and whether all processes meet in a step with a number: what the
            run is to raise once it has saved its state, or `EarlyEnd`, if it is to end before its last step. All
            processes of the job must get the same answers.
        heartbeat: Called at the begin of each phase, with the optimizer steps completed.
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
    ) -> None:
        self._stop, self._heartbeat = stop, heartbeat
        self._state, self._plan, self._data = state, plan, data
        self._evaluator, self._checkpoints, self._tracker = evaluator, checkpoints, tracker
        self._metrics = RunMetrics(state, examples=data.examples, batch=plan.batch, tracker=tracker)
        self._nonfinite = nonfinite.NonFinite(plan.nonfinite, state, checkpoints, every=plan.checkpoint_every)
        self._ended = state.early_stopping.ended  # if it was started again just then

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
        )
        while self._state.step < self._plan.steps and not self._ended:
            self._after(next(steps))
        self._heartbeat(Phase.DISK, self._state.step)  # what a pipeline of the user's does at its end
        steps.close()
        if not self._metrics.has_evaluation:
            reason = self._evaluate()
            if self._state.step < self._plan.steps:
                self._metrics.ended(reason or "it was to end there")
        self._heartbeat(Phase.DISK, self._state.step)
        self._checkpoints.finish(self._state)
        self._heartbeat(Phase.CLOSING, self._state.step)
        sha256 = self._synchronise()
        return {**self._metrics.results(sha256), "seconds": round(time.perf_counter() - began, 3)}

    def _after(self, info: StepInfo) -> None:
        self._metrics.note(info)
        self._look_at(info)
        step, planned, reason = info.step, info.step == self._plan.steps, None
        logs = planned or step % self._plan.log_every == 0
        if logs:
            reason = self._log(info)
        asked = None if planned else self._stop(step, self._is_sync_step)  # after the log, in which processes may meet
        if asked is not None and not isinstance(asked, EarlyEnd):
            self._leave(info, asked)
        reason = reason or (str(asked) if asked is not None else None)
        if planned or reason or step % self._plan.evaluate_every == 0:
            self._metrics.stop_clock(info)
            reason = self._evaluate() or reason  # before the save, which remembers it
            self._metrics.start_clock()
        last = planned or reason is not None
        if last and not logs:
            self._log(info)
        self._tracker.progress(step)
        if last or step % self._plan.checkpoint_every == 0 or self._is_best(step):
            self._metrics.stop_clock(info)
            self._save()
            self._metrics.start_clock()
        self._ended = last
        if reason is not None and not planned:
            self._metrics.ended(reason)

    def _look_at(self, info: StepInfo) -> None:
        """Does what is to be done after a gradient that was not finite."""
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
        """Saves, and raises what has asked the run to stop."""
        self._metrics.stop_clock(info)
        self._save()
        self._heartbeat(Phase.DISK, info.step)
        self._checkpoints.finish(self._state)
        self._metrics.flush()
        raise asked

    def _is_best(self, step: int) -> bool:
        """Whether the evaluation after this step is the best until now, and its checkpoint is to be kept."""
        return self._state.early_stopping.keep_best and self._state.early_stopping.best_step == step

    def _is_sync_step(self, step: int) -> bool:
        """Whether all processes exchange something in this step, or when it is completed."""
        strategy = self._state.strategy
        return (
            strategy.exchanges_gradients
            or strategy.parameters_due(step)
            or step % self._plan.log_every == 0
            or step == self._plan.steps
        )

    def _log(self, info: StepInfo) -> str | None:
        """Returns why the run is to end, if the loss says so."""
        self._heartbeat(Phase.LOGGING, info.step)
        return self._state.early_stopping.after_log(self._metrics.log(info))

    def _save(self) -> None:
        self._heartbeat(Phase.DISK, self._state.step)
        self._checkpoints.wait()
        self._heartbeat(Phase.SAVING, self._state.step)
        self._checkpoints.save(self._state)

    def _evaluate(self) -> str | None:
        """Returns why the run is to end, if the result says so."""
        self._heartbeat(Phase.EVALUATING, self._state.step)
        measured = self._evaluator(
            self._state.consensus(), lambda: self._heartbeat(Phase.EVALUATION_BATCH, self._state.step)
        )
        self._metrics.evaluated(measured)
        return self._state.early_stopping.after_evaluation(self._state.step, measured)

    def _synchronise(self) -> str:
        """The last step always synchronises: every replica ends with the consensus, which is checked.

        Returns:
            The sha256 of the parameters, the same for every replica of the job.

        Raises:
            ExchangeError: It is not.
        """
        consensus = self._state.consensus()
        for replica in self._state.replicas:
            replica.assign(consensus)
        own = [digest(replica) for replica in self._state.replicas]
        require_equal(self._state.strategy.collective, own, "the parameters that replicas end with")
        return own[0]
