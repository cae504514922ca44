"""A task for each of a model's outputs; the loss is their weighted sum."""

from collections.abc import Mapping
from typing import final

import numpy as np
import tensorflow as tf

from tfscale.errors import UserError
from tfscale.specs import ArraySpec, ElementSpec, Nested, leaves
from tfscale.tasks.base import Measure, Task, Tensors

NAME = "several"


@final
class Several:
    """Tasks by the names of the targets; implements `base.Task`.

    Args:
        tasks: Output -> its task.
        weights: Output -> factor of its loss; 1 where it is not named.

    Attributes:
        tasks: Output -> its task.

    Raises:
        UserError: A weight names no output.
    """

    name = NAME

    def __init__(self, tasks: Mapping[str, Task], weights: Mapping[str, float]) -> None:
        unknown = sorted(set(weights) - set(tasks))
        if unknown:
            raise UserError(f"task.weights must name outputs ({', '.join(tasks)}), got {', '.join(unknown)}")
        self.tasks: Mapping[str, Task] = dict(tasks)
        self._weights = {name: weights.get(name, 1.0) for name in tasks}
        self.units: Nested[int] = {name: task.units for name, task in tasks.items()}  # pyright: ignore[reportAttributeAccessIssue, reportAssignmentType]
        self.activation: Nested[str] = {name: task.activation for name, task in tasks.items()}  # pyright: ignore[reportAttributeAccessIssue, reportAssignmentType]
        self.measures = {
            f"{output}_{name}": Measure(make=measure.make, output=output)
            for output, task in tasks.items()
            for name, measure in task.measures.items()
        }

    def encode(self, x: Tensors, y: Tensors) -> Tensors:
        """Returns the targets by output."""
        return {name: task.encode(x, leaves(y)[name]) for name, task in self.tasks.items()}  # pyright: ignore[reportReturnType] - each has one output

    def loss(self, targets: Tensors, outputs: Tensors) -> tf.Tensor:
        """Returns the weighted sum of the losses of each example, [b].

        Raises:
            UserError: The model's outputs have other names.
        """
        if not isinstance(outputs, Mapping) or outputs.keys() != self.tasks.keys():
            got = ", ".join(outputs) if isinstance(outputs, Mapping) else type(outputs).__name__
            raise UserError(
                f"the model's outputs must be a dictionary of {', '.join(self.tasks)}, as the targets are, got {got}; "
                "give keras.Model(outputs={name: tensor})"
            )
        return tf.add_n(
            [self._weights[name] * task.loss(leaves(targets)[name], outputs[name]) for name, task in self.tasks.items()]
        )

    def decode(self, outputs: Nested[np.ndarray]) -> Nested[np.ndarray]:
        """Returns the predictions by output."""
        return {name: task.decode(leaves(outputs)[name]) for name, task in self.tasks.items()}  # pyright: ignore[reportReturnType] - each has one output


def target_specs(spec: ElementSpec) -> Mapping[str, ArraySpec]:
    """Returns the specs of several targets.

    Raises:
        UserError: There is only one.
    """
    if isinstance(spec.y, Mapping):
        return spec.y
    raise UserError(f"task={NAME} must have several targets with names, and the data have one; use task=auto")
