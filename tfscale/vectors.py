"""One flat float32 vector stands for a list of tensors.

Codecs, residuals and collectives know a single shape, [D], and one collective a step replaces one a variable. The price
is one copy each way, about 3 % of a LeNet step; a strategy that exchanges no gradients does not pay it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf


def size(tensors: Sequence[tf.Tensor | tf.Variable]) -> int:
    """Number of scalars in all the tensors, whose shapes are known."""
    return sum(tensor.shape.num_elements() or 0 for tensor in tensors)


def flatten(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns the tensors' elements in order, as one float32 vector [sum of sizes]."""
    if not tensors:
        return tf.zeros([0], tf.float32)
    return tf.concat([tf.reshape(tf.cast(tensor, tf.float32), [-1]) for tensor in tensors], axis=0)


def unflatten(vector: tf.Tensor, like: Sequence[tf.Tensor | tf.Variable]) -> list[tf.Tensor]:
    """Cuts a vector [sum of sizes] into tensors with the shapes and dtypes of `like`: flatten's inverse."""
    if not like:
        return []
    parts = tf.split(vector, [size([variable]) for variable in like])
    return [
        tf.cast(tf.reshape(part, variable.shape), variable.dtype) for part, variable in zip(parts, like, strict=True)
    ]


def prevent_reassociation(vector: tf.Tensor) -> tf.Tensor:
    """The vector itself, as an operation that the graph optimizer leaves alone; it copies nothing.

    It would draw a common factor out of a sum, or add in another order: other bits.
    """
    return tf.raw_ops.PlaceholderWithDefault(input=vector, shape=vector.shape)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which part of a vector [D] belongs to which trainable tensor.

    Attributes:
        names: Of the tensors, in order.
        sizes: Their numbers of elements.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def size(self) -> int:
        """D."""
        return sum(self.sizes)

    def spread(self, values: tf.Tensor) -> tf.Tensor:
        """One value [1], or one a tensor [T] -> what goes with [D]: [] or [D]."""
        return values[0] if values.shape[0] == 1 else tf.repeat(values, self.sizes)


def counter() -> tf.Variable:
    """A [] int64 variable that starts at 0."""
    return tf.Variable(tf.constant(0, tf.int64), trainable=False)
