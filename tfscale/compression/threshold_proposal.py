"""How the first threshold is agreed: every replica proposes a quantile of its own residual, and all take the mean.

It costs one step in which nothing but the proposals travels; what replicas contributed to it waits in their residuals.
"""

import tensorflow as tf

from tfscale import vectors
from tfscale.compression.backends.base import Spec

SAMPLE = 1_000_000
"""A quantile is taken of at most so many elements."""


def _quantile(part: tf.Tensor, density: tf.Tensor) -> tf.Tensor:
    """The size that a fraction `density` of the elements [n] reaches, among what is not zero; 0 if all are."""
    # An odd stride meets every column of a matrix whose rows are a power of two long.
    sample = tf.abs(part[:: -(-vectors.size([part]) // SAMPLE) | 1])
    wanted = tf.cast(tf.cast(tf.size(sample), tf.float32) * density, tf.int32)
    there = tf.math.count_nonzero(sample, dtype=tf.int32)
    return tf.math.top_k(sample, tf.maximum(tf.minimum(wanted, there), 1)).values[-1]


def propose(residual: tf.Tensor, spec: Spec, density: tf.Tensor, per_tensor: bool) -> tf.Tensor:
    """[D] -> thresholds [1] or [T] with which about `density` of the elements would be sent; 0 where all are zero."""
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
