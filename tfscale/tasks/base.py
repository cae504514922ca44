"""The interface between targets and models: everything that depends on what is predicted.

A task is constructed from the spec of the data. It refuses targets that do not fit, so that nothing is cast into
another meaning: class numbers are never read as measurements, nor measurements as class numbers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from tfscale.errors import UserError
from tfscale.specs import ArraySpec, ElementSpec, Nested

Tensors: TypeAlias = Nested[tf.Tensor]
LossFunction: TypeAlias = Callable[[Tensors, Tensors], tf.Tensor]
"""(targets, outputs) -> losses of the examples, [b]."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A metric of one output.

    Attributes:
        make: Constructor of a keras.Metric whose state adds up (sums, counts, confusion matrices).
        output: Name of the output that it scores; "" if the model has only one.
    """

    make: Callable[[], keras.Metric]
    output: str = ""


class Task(Protocol):
    """Prediction task: targets, loss, metrics and output layer."""

    @property
    def name(self) -> str:
        """The task, as in `task=`."""
        ...

    @property
    def units(self) -> Nested[int]:
        """Length of the last axis of the output; by name if there are several outputs."""
        ...

    @property
    def activation(self) -> Nested[str]:
        """Keras name of the output layer's activation; by name if there are several outputs."""
        ...

    @property
    def measures(self) -> Mapping[str, Measure]:
        """Metrics by name; the first one is the result that tables show."""
        ...

    def encode(self, x: Tensors, y: Tensors) -> Tensors:
        """Returns the targets [b, ...] of a batch, x and y, in the dtype and shape that the loss takes."""
        ...

    def loss(self, targets: Tensors, outputs: Tensors) -> tf.Tensor:
        """Returns the loss of each example, [b]: the mean over all other axes.

        Raises:
            UserError: While it is traced, if the outputs have another shape than the task's.
        """
        ...

    def decode(self, outputs: Nested[np.ndarray]) -> Nested[np.ndarray]:
        """Returns the predictions that the outputs [b, ...] stand for: class names or numbers, or measurements."""
        ...


def per_example(loss: keras.losses.Loss) -> LossFunction:
    """Returns a Keras loss of reduction "none" as one number for each example: the mean over all other axes.

    Keras gives a number for each position of a dense target, [b, h, w]; weights of examples, [b], must not meet those
    axes.

    Raises:
        UserError: When called, if the loss has no axis of examples.
    """

    def losses(targets: Tensors, outputs: Tensors) -> tf.Tensor:
        values: tf.Tensor = tf.convert_to_tensor(loss(targets, outputs))  # pyright: ignore[reportArgumentType]
        if values.shape.rank == 0:
            raise UserError(
                f"loss must give one number for each example, shape [batch, ...], got one for the whole batch from "
                f"{type(loss).__name__}; leave the axis of examples"
            )
        return values if values.shape.rank == 1 else tf.reduce_mean(values, axis=list(range(1, values.shape.rank)))

    return losses


def require_shape(
    name: str, outputs: Tensors, shape: tuple[int, ...], hint: str = "give it another last layer"
) -> None:
    """Checks the shape of a model's output, which would otherwise be broadcast against the targets.

    Args:
        name: Of the task, for the message.
        outputs: [b, ...], in a graph.
        shape: Of the output for one example.
        hint: What to do.

    Raises:
        UserError: The shape is another one, or there are several outputs.
    """
    got = None if isinstance(outputs, Mapping | tuple | list) else outputs.shape
    if got is None or not got.is_compatible_with((None, *shape)):
        shown = f"{len(outputs)} outputs" if got is None else tuple(got[1:])  # pyright: ignore[reportArgumentType]
        raise UserError(f"the model's output must have shape {shape} for task={name}, got {shown}; {hint}")


def single(name: str, part: Nested[ArraySpec] | None, which: str = "target") -> ArraySpec:
    """Returns the spec of the only target or input.

    Args:
        name: Of the task, for the message.
        part: Targets or inputs.
        which: What they are, for the message.

    Raises:
        UserError: There is none, or there are several.
    """
    if isinstance(part, ArraySpec):
        return part
    if part is None:
        raise UserError(
            f"task={name} must have {which}s, and the data have none; name the column or array that holds them, or use "
            "task=reconstruction"
        )
    names = ", ".join(part) if isinstance(part, Mapping) else f"{len(part)}"
    raise UserError(f"task={name} has one {which}, and the data have several ({names}); use task=several")


def refuse(name: str, target: ArraySpec, wanted: str, instead: str) -> UserError:
    """Returns the error for targets that do not fit a task."""
    return UserError(f"task={name} must have {wanted} as targets, got {target}; use {instead}")


def without_last_one(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns a shape without a last axis of length 1, which adds nothing to a target."""
    return shape[:-1] if shape and shape[-1] == 1 else shape


def target_of(name: str, spec: ElementSpec) -> ArraySpec:
    """Returns the spec of the only target; raises like `single`."""
    return single(name, spec.y)
