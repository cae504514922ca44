"""Figures of a run, for trackers while it trains and for its summary at the end.

Speed counts time and examples only while the clock runs: not while the first step compiles, nor during evaluation.
"""

import time
from collections import Counter
from typing import Any, final

import tensorflow as tf

from tfscale.collectives.base import mean_bytes
from tfscale.collectives.checksummed import gather_checksummed
from tfscale.data.base import Split
from tfscale.tracking.base import Kind, Tracker
from tfscale.training.loop import StepInfo
from tfscale.training.observer import Observer
from tfscale.training.state import RunState


def examples_seen(step: int, examples: int, whole: int) -> int:
    """Training examples that all replicas together have used after `step` steps with a global batch of `whole`."""
    epochs, within = divmod(step, -(-examples // whole))
    return epochs * examples + min(within * whole, examples)


KINDS = {Split.VALIDATION: Kind.VALIDATION, Split.TEST: Kind.TEST}
"""Split -> kind of the records of its evaluations."""

PREFIXES = {Split.TEST: "", Split.VALIDATION: "val_"}
"""Split -> prefix of its results in summary.json; the results of the test come first."""


@final
class RunMetrics:
    """The figures of one run.

    Args:
        state: What is trained.
        examples: Training examples.
        batch: B.
        tracker: Gets the records.
        observer: Of the tensors of a replica; None in a run that does not ask.
    """

    def __init__(
        self, state: RunState, *, examples: int, batch: int, tracker: Tracker, observer: Observer | None = None
    ) -> None:
        self._state, self._all, self._tracker, self._observer = state, examples, tracker, observer
        self._collective = state.strategy.collective
        self._senders, self._whole = state.strategy.senders, batch * self._collective.size
        self._steps: list[StepInfo] = []
        self._sums: Counter[str] = Counter()
        self._told, self._first_number = 0, state.step + 1
        self._averaged: tf.Tensor | None = None
        self._mark, self._marked_step = 0.0, 0
        self._seconds, self._timed_examples, self._first_step = 0.0, 0, 0.0
        self._evaluations: dict[Split, dict[str, float]] = {}
        described = state.strategy.describe().measurements
        self._averaged_figures = [
            "seconds",
            "data_seconds",
            *(name for name, each in described.items() if each.averaged),
        ]
        self._reason: str | None = None

    def note(self, info: StepInfo) -> None:
        """Takes a completed step."""
        self._steps.append(info)
        self._averaged = self._averaged if info.averaged_losses is None else info.averaged_losses
        if info.step == self._first_number:
            self._first_step = info.seconds
            self.start_clock()
        if info.remark is not None:
            self.remark(info.step, info.remark)

    def remark(self, step: int, words: str) -> None:
        """Reports a change after `step` steps."""
        self._tracker.message(step, words)

    def start_clock(self) -> None:
        """Starts the clock: training begins."""
        self._mark, self._marked_step = time.perf_counter(), self._state.step

    def stop_clock(self, info: StepInfo) -> None:
        """Adds the time and examples since the clock was started.

        Waits for the last loss first, as a device may still be computing steps that Python has started.
        """
        float(info.losses[0])
        self._seconds += time.perf_counter() - self._mark
        self._timed_examples += self._examples(info.step) - self._examples(self._marked_step)
        self.start_clock()

    def _examples(self, step: int) -> int:
        return examples_seen(step, self._all, self._whole)

    def _mean(self, losses: tf.Tensor) -> float:
        """Returns the mean over all W replicas of this process's R losses."""
        own = [tf.bitcast(losses[index], tf.int32)[tf.newaxis] for index in range(len(self._state.replicas))]
        gathered = tf.concat(gather_checksummed(self._collective, own), axis=0)
        return float(tf.reduce_mean(tf.bitcast(gathered, tf.float32)))

    def log(self, info: StepInfo) -> float:
        """Logs a record of the steps since the last; returns their mean loss. All processes must call it."""
        self.stop_clock(info)
        loss = self._mean(tf.add_n([each.losses for each in self._steps]) / len(self._steps))
        waited = sum(each.data_seconds for each in self._steps) / sum(each.seconds for each in self._steps)
        self.flush()
        record: dict[str, float] = {
            "epoch": round(self._examples(info.step) / self._all, 4),
            "loss": loss,
            "learning_rate": float(self._state.replicas[0].optimizer.learning_rate),
            "samples_per_second": self._samples_per_second(),
            "data_share": round(waited, 4),
        }
        if self._averaged is not None:
            record["loss_after_averaging"] = self._mean(self._averaged)
            self._averaged = None
        if self._state.loss_scale is not None:
            record["loss_scale"] = float(self._state.loss_scale.value)
        record |= self._measurements(info)
        self._tracker.log(Kind.TRAIN, info.step, record)
        return loss

    def _measurements(self, info: StepInfo) -> dict[str, float]:
        names = self._state.strategy.measurements()
        return dict(zip(names, info.measurements.numpy().tolist(), strict=True))

    def flush(self) -> None:
        """Passes a record of each step since the last log record, and of each tensor, to the tracker."""
        for each in self._steps:
            loss = float(tf.reduce_mean(each.losses))
            times = {"seconds": each.seconds, "data_seconds": each.data_seconds}
            values = {"loss": loss, **times, **self._measurements(each)}
            self._tracker.log(Kind.STEP, each.step, values)
            if each.step != self._first_number:  # the first one compiles
                self._told += 1
                self._sums.update({name: values[name] for name in self._averaged_figures if name in values})
        if self._steps:
            self._log_tensors(self._steps[-1].step)
        self._steps.clear()

    def _log_tensors(self, step: int) -> None:
        """Logs what the strategy and the observer, if there is one, have measured of each tensor."""
        columns = {name: values.numpy() for name, values in self._state.strategy.tensor_measurements().items()}
        ratios = {} if self._observer is None else self._observer.ratios()
        for index, name in enumerate(self._state.replicas[0].layout.names):
            values = {what: float(column[index]) for what, column in columns.items()}
            values |= {"update_ratio": ratios[name]} if name in ratios else {}
            if values:
                self._tracker.log(Kind.TENSOR, step, {"name": name, **values})
        if self._observer is not None:
            for histogram in self._observer.histograms():
                self._tracker.log(Kind.HISTOGRAM, step, histogram)
            self._observer.clear()

    def evaluated(self, split: Split, measured: dict[str, float]) -> None:
        """Takes an evaluation on the validation or the test examples."""
        self._evaluations[split] = measured
        self._tracker.log(KINDS[split], self._state.step, measured)

    def ended(self, reason: str) -> None:
        """Takes the reason why the run ends before its last step."""
        self._reason = reason

    @property
    def has_reason(self) -> bool:
        """Returns whether the reason is known why the run ends before its last step."""
        return self._reason is not None

    @property
    def is_validated(self) -> bool:
        """Returns whether the model has been evaluated on the validation examples."""
        return Split.VALIDATION in self._evaluations

    def _results_of_evaluations(self) -> dict[str, Any]:
        """Returns the results on the test examples, and those on the validation examples as val_NAME."""
        found = {
            f"{prefix}{name}": round(value, 6)
            for split, prefix in PREFIXES.items()
            for name, value in self._evaluations.get(split, {}).items()
        }
        return {"metrics": [name for name in found if name not in ("loss", "val_loss")], **found}

    def _samples_per_second(self) -> float:
        return round(self._timed_examples / self._seconds, 1) if self._seconds else 0.0

    def results(self, sha256: str) -> dict[str, Any]:
        """Returns the results for summary.json.

        Args:
            sha256: Of the final parameters.
        """
        sent = int(self._state.strategy.bytes_sent)
        dense = self._state.step * mean_bytes(self._state.replicas[0].layout.size, self._senders)
        return {
            **self._results_of_evaluations(),
            **({} if self._reason is None else {"ended_early": self._reason}),
            "best_step": self._state.early_stopping.best_step,
            "best": round(self._state.early_stopping.best, 6),
            "best_metric": self._state.early_stopping.monitored.name,
            "steps": self._state.step,
            "epochs": round(self._examples(self._state.step) / self._all, 4),
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
