"""Parts of a user's own that rely on what tfscale does not do, for tests that such parts are refused by name.

Each is named by `_target_` and takes the keys of what it replaces: the mlp, or Nesterov's optimizer.
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfscale.data.base import Arrays
from tfscale.models.mlp import mlp


def examples(file: str, **settings: Any) -> Arrays:
    """Ten examples of two classes with one thing wrong, or `mapped` from a file, which is right."""
    x, y = np.ones((10, 3), np.float32), np.arange(10, dtype=np.int32) % 2
    arrays = Arrays(x_train=x, y_train=y, x_test=x, y_test=y, scale=1.0, classes=2)
    changed = {
        "float targets": {"y_train": y / 2},
        "targets of two axes": {"y_test": np.stack([y, y], axis=1)},
        "targets without inputs": {"y_train": y[:5]},
        "targets beyond classes": {"y_test": y + 1},
        "negative targets": {"y_train": y - 1},
        "no test examples": {"x_test": x[:0], "y_test": y[:0]},
        "no training examples": {"x_train": x[:0], "y_train": y[:0]},
        "other dtypes": {"x_test": x.astype(np.float64)},
        "other shapes": {"x_test": np.ones((10, 4), np.float32)},
        "text": {"x_train": np.full((10, 3), "a")},
        "float ids": {"vocabulary": 5},
        "ids beyond the vocabulary": {"x_train": y[:, None] + 8, "x_test": y[:, None], "vocabulary": 5},
        "mapped": {},
    }
    return arrays._replace(**changed[file])


def mapped(file: str, **settings: Any) -> Arrays:
    """Examples in a file that is mapped into memory."""
    np.save(Path(file), np.ones((10, 3), np.float32))
    return examples("mapped")._replace(x_train=np.load(file, mmap_mode="r"))


class Stepping(keras.Sequential):
    """A model with a training step of its own."""

    def train_step(self, data: Any) -> Any:
        """Never called."""
        raise AssertionError


def stepping(**settings: Any) -> keras.Model:
    """A model whose own training step would not be called."""
    return Stepping([keras.Input(tuple(settings["input_shape"])), *mlp(**settings).layers])


def compiled(**settings: Any) -> keras.Model:
    """A model that was compiled, to no effect."""
    model = mlp(**settings)
    model.compile(loss="mse")
    return model


def scaling(learning_rate: float, **settings: Any) -> keras.Optimizer:
    """An optimizer that scales losses."""
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(learning_rate))


def averaged(learning_rate: float, **settings: Any) -> keras.Optimizer:
    """An optimizer that averages weights for evaluation."""
    return keras.optimizers.SGD(learning_rate, use_ema=True)


class WholeLoss(keras.losses.Loss):
    """One number for each element of the output, not for each example."""

    def __init__(self, from_logits: bool, **settings: Any) -> None:
        super().__init__(**settings)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """[b], [b, c] -> [b, c]."""
        return y_pred
