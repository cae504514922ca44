"""Drives the loop through a whole run: logs, evaluates, saves, stops.

What happens every how many steps is decided here from the step number alone, so all processes of a job do the same
things at the same steps.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tfscale.collectives.base import Collective, mean_bytes
from tfscale.collectives.sealed import agree, seal, unseal
from tfscale.data.base import Data
from tfscale.errors import Enough
from tfscale.reporting.base import Sink
from tfscale.training.checkpoint import Checkpoints
from tfscale.training.evaluate import Evaluator
from tfscale.training.loop import StepInfo, training_steps
from tfscale.training.state import RunState, digest

AVERAGED = ("seconds", "density")
"""Of the figures of every step, those whose mean is a result, besides the times that the strategy measures."""


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
    """

    steps: int
    batch: int
    seed: int
    prefetch: int
    log_every: int
    evaluate_every: int
    checkpoint_every: int


def examples_seen(step: int, examples: int, whole: int) -> int:
    """Examples that all replicas together have used after `step` steps with global batch `whole`."""
    epochs, within = divmod(step, -(-examples // whole))
    return epochs * examples + min(within * whole, examples)


class Run:
    """One run from where its state stands to the plan's last step.

    Args:
        state: What is trained.
        plan: What to do when.
        data: Training data.
        evaluator: Measures the consensus.
        checkpoints: Where state is saved.
        sinks: Get the records.
        stop: Asked after each step, with its number and whether all processes meet in a step with a number: what the
            run is to raise once it has saved its state, or `Enough`, if it is to end before its last step. All
            processes of the job must get the same answers.
        pulse: Told what this process begins to do, and after how many steps.
    """

    def __init__(
        self,
        state: RunState,
        plan: Plan,
        *,
        data: Data,
        evaluator: Evaluator,
        checkpoints: Checkpoints,
        sinks: Sequence[Sink],
        stop: Callable[[int, Callable[[int], bool]], Exception | None],
        pulse: Callable[[str, int], None],
    ) -> None:
        self._stop, self._pulse = stop, pulse
        self._state, self._plan, self._data = state, plan, data
        self._evaluator, self._checkpoints, self._sinks = evaluator, checkpoints, sinks
        self._whole = plan.batch * self._collective.size
        self._steps: list[StepInfo] = []
        self._sums: Counter[str] = Counter()
        self._told, self._first_number = 0, state.step + 1
        self._averaged: tf.Tensor | None = None
        self._mark, self._marked_step = 0.0, 0
        self._seconds, self._timed_examples, self._first_step = 0.0, 0, 0.0
        self._evaluation: dict[str, float] = {}
        self._ended = False

    @property
    def _collective(self) -> Collective:
        return self._state.strategy.collective

    def __call__(self) -> dict[str, Any]:
        """Trains to the end; returns results for summary.json. All processes of the job must call it."""
        began, start = time.perf_counter(), self._state.step
        steps = training_steps(
            self._state,
            self._data,
            shards=self._collective.size,
            batch=self._plan.batch,
            seed=self._plan.seed,
            prefetch=self._plan.prefetch,
            pulse=self._pulse,
        )
        while self._state.step < self._plan.steps and not self._ended:
            self._after(next(steps), first=self._state.step == start + 1)
        steps.close()
        if not self._evaluation:
            self._evaluate()
        self._pulse("closing", self._state.step)
        sha256 = self._synchronise()
        self._pulse("the disk", self._state.step)
        self._checkpoints.finish()
        return {**self._results(sha256), "seconds": round(time.perf_counter() - began, 3)}

    def _after(self, info: StepInfo, *, first: bool) -> None:
        self._steps.append(info)
        self._averaged = self._averaged if info.averaged_losses is None else info.averaged_losses
        if first:
            self._first_step = info.seconds
            self._start_clock()
        if info.remark is not None:
            for sink in self._sinks:
                sink.remark(info.step, info.remark)
        planned = info.step == self._plan.steps
        logs = planned or info.step % self._plan.log_every == 0
        if logs:
            self._log(info)
        asked = None if planned else self._stop(info.step, self._meets)  # after the log, in which processes may meet
        last = self._ended = planned or isinstance(asked, Enough)
        if last and not logs:
            self._log(info)
        for sink in self._sinks:
            sink.progress(info.step)
        evaluates = last or info.step % self._plan.evaluate_every == 0
        saves = last or asked is not None or info.step % self._plan.checkpoint_every == 0
        if evaluates or saves:
            self._stop_clock(info)
            if saves:
                self._pulse("the disk", info.step)
                self._checkpoints.settle()
                self._pulse("saving", info.step)
                self._checkpoints.save(self._state)
            if asked is not None and not last:
                self._pulse("the disk", info.step)
                self._checkpoints.finish()
                self._tell_details()
                raise asked
            if evaluates:
                self._evaluate()
            self._start_clock()

    def _meets(self, step: int) -> bool:
        """Whether all processes exchange something in this step, or when it is completed."""
        strategy = self._state.strategy
        return (
            strategy.exchanges_gradients
            or strategy.parameters_due(step)
            or step % self._plan.log_every == 0
            or step == self._plan.steps
        )

    def _start_clock(self) -> None:
        self._mark, self._marked_step = time.perf_counter(), self._state.step

    def _stop_clock(self, info: StepInfo) -> None:
        """Adds up what was trained since the clock was started.

        A device may still be computing steps that Python has long started, so the last loss is waited for first.
        """
        float(info.losses[0])
        self._seconds += time.perf_counter() - self._mark
        self._timed_examples += self._examples(info.step) - self._examples(self._marked_step)
        self._start_clock()

    def _examples(self, step: int) -> int:
        return examples_seen(step, self._data.examples, self._whole)

    def _mean(self, losses: tf.Tensor) -> float:
        """R losses -> the mean over all W."""
        own = [tf.bitcast(losses[index], tf.int32)[tf.newaxis] for index in range(len(self._state.replicas))]
        messages = self._collective.gather([seal(each) for each in own])
        gathered = tf.concat([unseal(message, rank) for rank, message in enumerate(messages)], axis=0)
        return float(tf.reduce_mean(tf.bitcast(gathered, tf.float32)))

    def _log(self, info: StepInfo) -> None:
        self._pulse("logging", info.step)
        self._stop_clock(info)
        loss = self._mean(tf.add_n([each.losses for each in self._steps]) / len(self._steps))
        self._tell_details()
        record: dict[str, float] = {
            "step": info.step,
            "epoch": round(self._examples(info.step) / self._data.examples, 4),
            "loss": loss,
            "learning_rate": float(self._state.replicas[0].optimizer.learning_rate),
            "samples_per_second": self._samples_per_second(),
        }
        if self._averaged is not None:
            record["loss_after_averaging"] = self._mean(self._averaged)
            self._averaged = None
        record |= self._measurements(info)
        for sink in self._sinks:
            sink.step(record)

    def _measurements(self, info: StepInfo) -> dict[str, float]:
        names = self._state.strategy.measurements()
        return dict(zip(names, info.measurements.numpy().tolist(), strict=True))

    def _tell_details(self) -> None:
        """Hands on what is known of each step since the last log record, and of each tensor now."""
        steps = [
            {
                "step": each.step,
                "loss": float(tf.reduce_mean(each.losses)),
                "seconds": each.seconds,
                **self._measurements(each),
            }
            for each in self._steps
        ]
        self._steps.clear()
        usual = [record for record in steps if record["step"] != self._first_number]  # the first one compiles
        self._told += len(usual)
        for record in usual:
            self._sums.update({name: record[name] for name in record if name.endswith("_ms") or name in AVERAGED})
        columns = {name: values.numpy() for name, values in self._state.strategy.tensor_measurements().items()}
        layout = self._state.replicas[0].layout
        tensors = {
            name: {what: float(values[index]) for what, values in columns.items()}
            for index, name in enumerate(layout.names if columns else ())
        }
        for sink in self._sinks:
            sink.details(steps, tensors)

    def _evaluate(self) -> None:
        self._pulse("evaluating", self._state.step)
        self._evaluation = self._evaluator(
            self._state.consensus(), lambda: self._pulse("a test batch", self._state.step)
        )
        for sink in self._sinks:
            sink.evaluation({"step": self._state.step, **self._evaluation})

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
        agree(self._collective, own, "the parameters that replicas end with")
        return own[0]

    def _samples_per_second(self) -> float:
        return round(self._timed_examples / self._seconds, 1) if self._seconds else 0.0

    def _results(self, sha256: str) -> dict[str, Any]:
        sent = int(self._state.strategy.bytes_sent)
        dense = self._state.step * mean_bytes(self._state.replicas[0].layout.size, self._collective.size)
        return {
            **{name: round(value, 6) for name, value in self._evaluation.items()},
            "steps": self._state.step,
            "epochs": round(self._examples(self._state.step) / self._data.examples, 4),
            "examples": self._examples(self._state.step),
            "samples_per_second": self._samples_per_second(),
            "training_seconds": round(self._first_step + self._seconds, 3),
            "first_step_seconds": round(self._first_step, 3),
            "bytes_sent": sent,
            "bytes_dense": dense,
            "bytes_ratio": round(dense / sent, 2) if sent else None,
            **{f"mean_{name}": total / max(self._told, 1) for name, total in self._sums.items()},
            "parameters_sha256": sha256,
        }
