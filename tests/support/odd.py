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
        "targets of two axes": {"y_test": np.stack([y, y], axis=1)},
        "targets without inputs": {"y_train": y[:5]},
        "targets beyond classes": {"y_test": y + 1},
        "negative targets": {"y_train": y - 1},
        "other target dtypes": {"y_train": y / 2, "classes": None},
        "targets that are not finite": {"y_train": np.where(y, np.nan, 1.0), "y_test": y / 1, "classes": None},
        "dates": {"y_train": y.astype("datetime64[s]")},
        "a class without training examples": {
            "y_train": np.array([*"aabbaabbab"]),
            "y_test": np.array([*"abcabcabca"]),
        },
        "only x of the test": {"y_test": None},
        "a list": {"x_train": x.tolist()},
        "no features": {"x_train": x[:, 0]},
        "inputs that are not finite": {
            "x_train": np.where(np.arange(10) == 4, np.inf, 1.0)[:, None].astype(np.float32) * x
        },
        "weights below 0": {"weight": y - 1.0},
        "too few weights": {"weight": np.ones(3)},
        "no test examples": {"x_test": x[:0], "y_test": y[:0]},
        "no training examples": {"x_train": x[:0], "y_train": y[:0]},
        "other dtypes": {"x_test": x.astype(np.float64)},
        "other shapes": {"x_test": np.ones((10, 4), np.float32)},
        "text": {"x_train": np.full((10, 3), "a")},
        "float ids": {"vocabulary": 5},
        "ids beyond the vocabulary": {"x_train": y[:, None] + 8, "x_test": y[:, None], "vocabulary": 5},
        "only training examples": {"x_test": None, "y_test": None},
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


class Ending(keras.callbacks.Callback):
    """Writes down what it sees, and ends the run after a number of steps."""

    def __init__(self, path: str, after: int) -> None:
        super().__init__()
        self._path, self._after, self._steps = path, after, 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Counts steps."""
        self._steps += 1
        self.model.stop_training = self._steps >= self._after

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes the epoch and its figures."""
        with open(self._path, "a") as file:
            file.write(f"{epoch} {' '.join(logs)}\n")


class Testing(keras.callbacks.Callback):
    """Relies on a method that is not called."""

    def on_test_end(self, logs: Any = None) -> None:
        """Never called."""
        raise AssertionError


class WholeLoss(keras.losses.Loss):
    """One number for the whole batch, not for each example."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """[b], [b, c] -> []."""
        return keras.ops.mean(y_pred)
