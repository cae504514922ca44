"""TensorBoard event files, where `tensorboard` is installed: TensorFlow 2.21 no longer brings it along."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import tensorflow as tf

from tfscale.errors import UserError
from tfscale.tracking.base import Kind, Record, RunInfo

PREFIXES = {Kind.TRAIN: "train", Kind.VALIDATION: "validation", Kind.TEST: "test"}
"""Of the scalars of each kind of record that is written."""


@final
class TensorBoardTracker:
    """Writes training and evaluation records as scalars `train/NAME`, `validation/NAME` and `test/NAME`.

    Args:
        folder: For event files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None

    def start(self, run: RunInfo) -> None:
        """Opens an event file.

        Raises:
            UserError: The package is not installed.
        """
        if importlib.util.find_spec("tensorboard") is None:
            raise UserError(
                "run.tensorboard=true must have the package tensorboard; type: pip install 'tfscale[tensorboard]'"
            )
        self._writer = tf.summary.create_file_writer(str(self._folder))

    def progress(self, step: int) -> None:
        """Does nothing."""

    def log(self, kind: Kind, step: int, values: Record) -> None:
        """Writes a scalar for each value of a training or evaluation record."""
        if kind not in PREFIXES:
            return
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(f"{PREFIXES[kind]}/{name}", value)

    def message(self, step: int, text: str) -> None:
        """Writes it as text."""
        with self._writer.as_default(step=step):
            tf.summary.text("remark", text)

    def summary(self, results: Mapping[str, Any]) -> None:
        """Does nothing."""

    def artifact(self, path: Path) -> None:
        """Does nothing."""

    def finish(self) -> None:
        """Closes the event file."""
        if self._writer is not None:
            self._writer.close()
