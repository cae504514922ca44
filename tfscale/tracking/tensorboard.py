"""TensorBoard event files, where `tensorboard` is installed: TensorFlow 2.21 no longer brings it along.

A start adds an event file and reads the earlier ones first: what they have is not written again, and what a kill kept
from them comes from metrics.jsonl. So no curve goes back.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
import tensorflow as tf

from tfscale.dotted_keys import flattened, without_empty
from tfscale.tracking.base import Kind, Record, RunInfo
from tfscale.tracking.curves import KINDS, curves

FOLDER = "tensorboard"
"""Of the event files, in the run directory."""

EXCLUDED = ("run.", "launch.", "tracker.", "trust", "resume")
"""Beginnings of keys that are no hyperparameters."""


@final
class TensorBoardTracker:
    """Writes scalars `train/NAME`, `validation/NAME` and `test/NAME`, remarks, and the settings as hyperparameters.

    Args:
        histograms: Whether histograms of tensors are asked for: `parameters/TENSOR` and `updates/TENSOR`.
        ratios: Whether ratios of update to parameters are asked for: `update_ratio/TENSOR`.
    """

    timeout = 60.0

    def __init__(self, *, histograms: bool, ratios: bool) -> None:
        self.kinds = (*KINDS, *((Kind.TENSOR,) if ratios else ()), *((Kind.HISTOGRAM,) if histograms else ()))
        self._writer: Any = None
        self._last: dict[str, int] = {}

    def start(self, run: RunInfo) -> None:
        """Opens an event file, and completes the earlier ones."""
        from tensorboard.plugins.hparams import api

        folder = run.folder / FOLDER
        self._last = last_steps(folder, run.answered)
        self._writer = tf.summary.create_file_writer(str(folder))
        if not self._last:
            with self._writer.as_default(step=0):
                api.hparams(hyperparameters(run.config), trial_id=run.name)
        for kind, step, values in run.earlier():
            self._scalars(step, curves(kind, values))
        self._writer.flush()

    def progress(self, step: int) -> None:
        """Does nothing."""

    def log(self, kind: Kind, step: int, values: Record) -> None:
        """Writes a record of training, of an evaluation or of a tensor."""
        if kind is Kind.TENSOR and "update_ratio" in values:
            self._scalars(step, {f"update_ratio/{values['name']}": float(values["update_ratio"])})
        elif kind is Kind.HISTOGRAM:
            self._histogram(step, f"{values['of']}/{values['name']}", values)
        else:
            self._scalars(step, curves(kind, values))
        if kind in KINDS:
            self._writer.flush()  # a kill then loses little

    def _scalars(self, step: int, named: Mapping[str, float]) -> None:
        with self._writer.as_default(step=step):
            for name, value in named.items():
                if self._is_new(name, step):
                    tf.summary.scalar(name, value)

    def _histogram(self, step: int, name: str, values: Record) -> None:
        from tensorboard.plugins.histogram.metadata import create_summary_metadata

        if self._is_new(name, step):
            counts = [value for key, value in values.items() if key.startswith("count_")]
            edges = np.linspace(float(values["low"]), float(values["high"]), len(counts) + 1)
            buckets = tf.constant(np.stack([edges[:-1], edges[1:], counts], axis=1), tf.float64)
            with self._writer.as_default():
                tf.summary.write(name, buckets, step=step, metadata=create_summary_metadata(name, ""))

    def _is_new(self, name: str, step: int) -> bool:
        """Returns whether nothing of this name has been written at this step, or after it; it then has."""
        new = step > self._last.get(name, -1)
        if new:
            self._last[name] = step
        return new

    def message(self, step: int, text: str) -> None:
        """Writes it as text."""
        if self._is_new(f"remark {text}", step):
            with self._writer.as_default(step=step):
                tf.summary.text("remark", text)

    def summary(self, results: Mapping[str, Any]) -> None:
        """Does nothing: the last evaluation is a scalar."""

    def artifact(self, path: Path) -> None:
        """Does nothing."""

    def finish(self) -> None:
        """Closes the event file."""
        if self._writer is not None:
            self._writer.close()


def last_steps(folder: Path, read: Callable[[], None]) -> dict[str, int]:
    """Returns the last step of each tag in the event files of a folder; what a kill cut off does not count.

    Args:
        folder: Of the files.
        read: Called after each event that has been read.
    """
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    last: defaultdict[str, int] = defaultdict(lambda: -1)
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(path)).Load():
            read()
            for value in event.summary.value:
                last[value.tag] = max(last[value.tag], event.step)
    return dict(last)


def hyperparameters(config: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Returns the settings that may differ between the jobs of a sweep, as the HParams plugin takes them."""
    return {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in without_empty(flattened(config)).items()
        if value is not None and not name.startswith(EXCLUDED)
    }
