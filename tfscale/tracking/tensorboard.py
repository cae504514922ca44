"""TensorBoard event files, where `tensorboard` is installed: TensorFlow 2.21 no longer brings it along."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

import tensorflow as tf

from tfscale.errors import UserError
from tfscale.tracking.base import Record


@final
class TensorBoardTracker:
    """Writes every record as scalars `train/...` and `test/...`.

    Args:
        folder: For event files.

    Raises:
        UserError: The package is not installed.
    """

    def __init__(self, folder: Path) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise UserError(
                "run.tensorboard=true must have the package tensorboard; type: pip install 'tfscale[tensorboard]'"
            )
        self._writer = tf.summary.create_file_writer(str(folder))

    def progress(self, step: int) -> None:
        """Nothing."""

    def step(self, record: Record) -> None:
        """Writes train/NAME."""
        self._write("train", record)

    def details(self, steps: Sequence[Record], tensors: Mapping[str, Record]) -> None:
        """Nothing."""

    def remark(self, step: int, words: str) -> None:
        """Writes it as text."""
        with self._writer.as_default(step=step):
            tf.summary.text("remark", words)

    def evaluation(self, record: Record) -> None:
        """Writes test/NAME."""
        self._write("test", record)

    def _write(self, kind: str, record: Record) -> None:
        with self._writer.as_default(step=int(record["step"])):
            for name, value in record.items():
                tf.summary.scalar(f"{kind}/{name}", value)

    def close(self) -> None:
        """Closes the event file."""
        self._writer.close()
