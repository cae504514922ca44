"""Gradient accumulation: a replica computes a batch in parts, one after another, and adds their gradients.

The memory of activations is that of one part, and the step is that of the whole batch: one exchange and one update.
Only what looks at a whole batch differs, such as the statistics of batch normalization.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfscale.data.base import Batch

Gradients = tuple[tf.Tensor, list[tf.Tensor]]
"""Loss, [], and a gradient for each trainable variable."""


def accumulate(
    gradients: Callable[[Batch, tf.Tensor], Gradients], batch: Batch, size: int, like: Sequence[tf.Variable]
) -> Gradients:
    """Adds losses and gradients of the parts of a batch.

    Args:
        gradients: (part, share [] of the whole batch's penalties) -> what is added.
        batch: b examples, b >= 1; the last one of an epoch may have fewer than the others.
        size: Examples of a part; the last part may have fewer.
        like: Variables with the shapes of the gradients.
    """
    examples = tf.shape(batch[-1])[0]
    parts = -(-examples // size)

    def add(index: tf.Tensor, loss: tf.Tensor, sums: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        start = index * size
        part = tf.nest.map_structure(lambda each: each[start : start + size], batch)
        share = tf.cast(tf.shape(part[-1])[0] / examples, tf.float32)
        more, each = gradients(part, share)
        return index + 1, loss + more, [before + after for before, after in zip(sums, each, strict=True)]

    zeros = [tf.zeros(variable.shape) for variable in like]
    _, loss, sums = tf.while_loop(
        lambda index, loss, sums: index < parts, add, (tf.constant(0), tf.constant(0.0), zeros), parallel_iterations=1
    )
    return loss, sums
