"""Conversion between a list of tensors and one flat float32 vector.

Codecs, residuals and collectives have a single shape, [D], and one collective a step replaces one a variable. It costs
one copy each way, about 3 % of a LeNet step; a strategy that exchanges no gradients makes none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf


def size(tensors: Sequence[tf.Tensor | tf.Variable]) -> int:
    """Number of scalars in all tensors; their shapes must be static."""
    return sum(tensor.shape.num_elements() or 0 for tensor in tensors)


def flatten(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Concatenates the tensors' elements, in order, to one float32 vector [sum of sizes]."""
    if not tensors:
        return tf.zeros([0], tf.float32)
    return tf.concat([tf.reshape(tf.cast(tensor, tf.float32), [-1]) for tensor in tensors], axis=0)


def unflatten(vector: tf.Tensor, like: Sequence[tf.Tensor | tf.Variable]) -> list[tf.Tensor]:
    """Splits a vector [sum of sizes] into tensors with the shapes and dtypes of `like`: flatten's inverse."""
    if not like:
        return []
    parts = tf.split(vector, [size([variable]) for variable in like])
    return [
        tf.cast(tf.reshape(part, variable.shape), variable.dtype) for part, variable in zip(parts, like, strict=True)
    ]


def prevent_reassociation(vector: tf.Tensor) -> tf.Tensor:
    """Returns the vector through an operation that the graph optimizer does not look through; it copies nothing.

    The optimizer would factor out common terms of a sum, or add in another order: other bits.
    """
    return tf.raw_ops.PlaceholderWithDefault(input=vector, shape=vector.shape)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The order and the sizes of the trainable tensors in a vector [D].

    Attributes:
        names: Names of the tensors, in order.
        sizes: Numbers of elements of the tensors.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def size(self) -> int:
        """D."""
        return sum(self.sizes)

    def spread(self, values: tf.Tensor) -> tf.Tensor:
        """Repeats one value a tensor [T] for each of its elements, [D]; of one value [1] it makes []."""
        return values[0] if values.shape[0] == 1 else tf.repeat(values, self.sizes)


def counter() -> tf.Variable:
    """Creates a [] int64 variable with the value 0."""
    return tf.Variable(tf.constant(0, tf.int64), trainable=False)
