"""A task with the loss or the metrics of the configuration in place of its own."""

from collections.abc import Mapping
from typing import final

import keras
import numpy as np
import tensorflow as tf

from tfscale.errors import UserError
from tfscale.specs import Nested, leaves
from tfscale.tasks.base import Measure, Task, Tensors, per_example
from tfscale.tasks.several import Several


@final
class Overridden:
    """Another task with some parts replaced; implements `base.Task`.

    Args:
        task: The other one.
        loss: Of reduction "none"; None for the task's.
        measures: Metrics by name.

    Attributes:
        inner: The other one.

    Raises:
        UserError: The task has several outputs, and the loss one.
    """

    def __init__(self, task: Task, *, loss: keras.losses.Loss | None, measures: Mapping[str, Measure]) -> None:
        if loss is not None and len(leaves(task.units)) > 1:
            raise UserError(
                f"loss={type(loss).__name__} is of one output, and the model has several "
                f"({', '.join(leaves(task.units))}); leave loss=auto and choose task.outputs"
            )
        self.inner, self._loss = task, task.loss if loss is None else per_example(loss)
        self.name, self.units, self.activation, self.measures = task.name, task.units, task.activation, measures

    def encode(self, x: Tensors, y: Tensors) -> Tensors:
        """Returns the targets of a batch; see `base.Task`."""
        return self.inner.encode(x, y)

    def loss(self, targets: Tensors, outputs: Tensors) -> tf.Tensor:
        """Returns the loss of each example, [b]."""
        return self._loss(targets, outputs)

    def decode(self, outputs: Nested[np.ndarray]) -> Nested[np.ndarray]:
        """Returns the predictions; see `base.Task`."""
        return self.inner.decode(outputs)


def tasks_by_output(task: Task) -> Mapping[str, Task]:
    """Returns the task of each output; "" is the name of the only one."""
    inner = task.inner if isinstance(task, Overridden) else task
    return inner.tasks if isinstance(inner, Several) else {"": inner}


def output_of(metric: str, task: Task) -> str:
    """Returns the output that a metric of the configuration scores: the only one, or the one its name begins with.

    Raises:
        UserError: There are several outputs, and the name begins with none of theirs.
    """
    outputs = list(leaves(task.units))
    if outputs == [""]:
        return ""
    found = [name for name in outputs if metric.startswith(f"{name}_")]
    if not found:
        raise UserError(
            f"metrics.{metric} must begin with the name of the output that it scores ({', '.join(outputs)}); type "
            f"+metrics.{outputs[0]}_{metric}=..."
        )
    return max(found, key=len)
