"""Keras callbacks of the user's own: they look on between steps, in one process.

Keras calls callbacks inside `fit`; here the trainer calls them, after it has logged and evaluated a step. They see the
model of replica 0, with the weights that it trains with. A callback that changes weights makes replicas differ, which
the next exchange finds. `model.stop_training = True` ends the run, in all processes after the same step.
"""

from collections.abc import Mapping, Sequence
from typing import Any, final

import keras
import tensorflow as tf

from tfscale.errors import UserError
from tfscale.training.loop import StepInfo

NOT_CALLED = tuple(
    f"on_{phase}{part}" for phase in ("test", "predict") for part in ("_begin", "_end", "_batch_begin", "_batch_end")
)
"""Methods that a callback must not rely on: validation is tfscale's, and its results come with the epoch's end."""


@final
class KerasCallbacks:
    """Calls callbacks with Keras's numbers: epochs from 0, and steps from 0 within an epoch.

    Args:
        callbacks: By name.
        model: Of replica 0.
        epoch: Steps of an epoch.
        steps: Steps of the whole run.

    Raises:
        UserError: One is no callback, or has a method that would not be called.
    """

    def __init__(
        self, callbacks: Mapping[str, keras.callbacks.Callback], model: keras.Model, *, epoch: int, steps: int
    ) -> None:
        for name, each in callbacks.items():
            _refuse(name, each)
        self._callbacks, self._model, self._epoch = tuple(callbacks.values()), model, epoch
        self._needs_losses = any(_overrides(each, "on_train_batch_end", "on_batch_end") for each in self._callbacks)
        self._losses: list[tf.Tensor] = []
        self._validated: dict[str, float] = {}
        self._last: dict[str, float] = {}
        model.stop_training = False
        for each in self._callbacks:
            each.set_params({"epochs": -(-steps // epoch), "steps": epoch, "verbose": 0})
            each.set_model(model)

    @property
    def stops(self) -> bool:
        """Returns whether a callback has asked for the end of the run."""
        return bool(self._model.stop_training)

    def begin(self, step: int) -> None:
        """Is called before the first step of this process.

        Args:
            step: Optimizer steps completed.
        """
        self._call("on_train_begin", {})
        self._begin_step(step, is_first=True)

    def _begin_step(self, step: int, *, is_first: bool = False) -> None:
        if is_first or step % self._epoch == 0:
            self._call("on_epoch_begin", step // self._epoch, {})
        self._call("on_train_batch_begin", step % self._epoch, {})

    def validated(self, measured: Mapping[str, float]) -> None:
        """Takes an evaluation on the validation examples, which comes before `after_step`."""
        self._validated = {f"val_{name}": value for name, value in measured.items()}

    def after_step(self, info: StepInfo, *, is_last: bool) -> None:
        """Is called after a step.

        Args:
            info: The step. Its losses are those of this process's replicas.
            is_last: Whether no other step follows.
        """
        within = (info.step - 1) % self._epoch
        self._losses.append(tf.reduce_mean(info.losses))
        logs = {"loss": float(self._losses[-1])} if self._needs_losses else {}
        self._call("on_train_batch_end", within, logs)
        if within == self._epoch - 1 or is_last:
            losses, self._losses = self._losses, []
            logs = {"loss": float(tf.add_n(losses)) / len(losses), **self._validated}
            self._validated = {}
            self._last = logs
            self._call("on_epoch_end", (info.step - 1) // self._epoch, logs)
        if not is_last:
            self._begin_step(info.step)

    def end(self) -> None:
        """Is called once the run has ended well."""
        self._call("on_train_end", self._last)

    def _call(self, method: str, *values: Any) -> None:
        for each in self._callbacks:
            getattr(each, method)(*values)


def _overrides(callback: keras.callbacks.Callback, *methods: str) -> bool:
    return any(getattr(type(callback), method) is not getattr(keras.callbacks.Callback, method) for method in methods)


def _refuse(name: str, callback: object) -> None:
    if not isinstance(callback, keras.callbacks.Callback):
        raise UserError(
            f"callbacks.{name} must be a keras.callbacks.Callback, got {type(callback).__name__}; derive its "
            "class from it"
        )
    unused: Sequence[str] = [method for method in NOT_CALLED if _overrides(callback, method)]
    if unused:
        raise UserError(
            f"callbacks.{name} has {' and '.join(unused)}, which tfscale does not call; use on_epoch_end, whose logs "
            "have the results on the validation examples as val_NAME"
        )
