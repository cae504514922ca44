"""Threshold proposals: every replica proposes a quantile of its own residual, and all take the mean.

It costs one step, whose messages have no sparse elements: the contributions to it stay in the residuals.
"""

import tensorflow as tf

from tfscale import vectors
from tfscale.compression.backends.base import Spec

SAMPLE = 1_000_000
"""Largest number of elements that a quantile is taken of."""


def _quantile(values: tf.Tensor, density: tf.Tensor) -> tf.Tensor:
    """The magnitude that a fraction `density` of the values [n] reaches, of those that are not 0; 0 if all are."""
    # An odd stride meets every column of a matrix whose rows are a power of two long.
    sample = tf.abs(values[:: -(-vectors.size([values]) // SAMPLE) | 1])
    wanted = tf.cast(tf.cast(tf.size(sample), tf.float32) * density, tf.int32)
    nonzero = tf.math.count_nonzero(sample, dtype=tf.int32)
    return tf.math.top_k(sample, tf.maximum(tf.minimum(wanted, nonzero), 1)).values[-1]


def propose(residual: tf.Tensor, spec: Spec, density: tf.Tensor, per_tensor: bool) -> tf.Tensor:
    """[D] -> thresholds [1] or [T] that about `density` of the elements reach; 0 where all elements are 0."""
    parts = tf.split(residual, spec.layout.sizes)
    sparse = [part for part, dense in zip(parts, spec.dense, strict=True) if not dense and part.shape[0]]
    if not sparse:
        return tf.ones([len(parts) if per_tensor else 1])
    if not per_tensor:
        return _quantile(tf.concat(sparse, axis=0), density)[tf.newaxis]
    return tf.stack(
        [
            tf.constant(0.0) if dense or not part.shape[0] else _quantile(part, density)
            for part, dense in zip(parts, spec.dense, strict=True)
        ]
    )
