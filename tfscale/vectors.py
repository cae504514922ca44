"""One flat float32 vector stands for a list of tensors.

Codecs, residuals and collectives know a single shape, [D], and one collective a step replaces one a variable. The price
is one copy each way; a strategy that exchanges no gradients skips it (see `training/loop.py`).
"""

import math
from collections.abc import Sequence

import tensorflow as tf


def size(variables: Sequence[tf.Variable]) -> int:
    """Number of scalars in all the variables."""
    return sum(math.prod(variable.shape) for variable in variables)


def flatten(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns the tensors' elements in order, as one float32 vector [sum of sizes]."""
    if not tensors:
        return tf.zeros([0], tf.float32)
    return tf.concat([tf.reshape(tf.cast(tensor, tf.float32), [-1]) for tensor in tensors], axis=0)


def unflatten(vector: tf.Tensor, like: Sequence[tf.Variable]) -> list[tf.Tensor]:
    """Cuts a vector [sum of sizes] into tensors with the shapes and dtypes of `like`: flatten's inverse."""
    if not like:
        return []
    parts = tf.split(vector, [math.prod(variable.shape) for variable in like])
    return [
        tf.cast(tf.reshape(part, variable.shape), variable.dtype)
        for part, variable in zip(parts, like, strict=True)
    ]
