"""Digests of tensors, by which processes find out whether they hold the same values."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfscale.kernels import library

Digest = Callable[[Sequence[tf.Tensor]], tf.Tensor]
"""float32 tensors -> [] int32; different tensors have equal digests in one case of 2^32."""


def choose(devices: Sequence[str]) -> Digest:
    """Returns the kernel's digest if it is built and all devices are CPUs, else the reference; both give equal bits."""
    operations = library.load() if all("CPU" in device.upper() for device in devices) else None
    if operations is None:
        return reference_digest
    return lambda tensors: operations.tfscale_digest(list(tensors))


def reference_digest(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Multiplies each 32-bit word by an odd factor of its index (`FactorOf` in the kernel); adds mod 2^64; folds."""
    total, start = tf.constant(0, tf.int64), tf.constant(0, tf.int64)
    for tensor in tensors:
        words = tf.cast(tf.bitcast(tf.reshape(tensor, [-1]), tf.uint32), tf.int64)
        indices = start + tf.range(tf.size(words, tf.int64), dtype=tf.int64)
        factors = tf.bitwise.bitwise_and((2 * indices + 1) * 0x9E3779B1, 0xFFFFFFFF)
        total += tf.reduce_sum(words * factors)
        start += tf.size(words, tf.int64)
    low, high = tf.bitwise.bitwise_and(total, 0xFFFFFFFF), tf.bitwise.right_shift(total, 32)
    folded = tf.bitwise.bitwise_xor(low, tf.bitwise.bitwise_and(high, 0xFFFFFFFF))
    return tf.bitcast(tf.cast(folded, tf.uint32), tf.int32)


def majority(digests: tf.Tensor) -> tf.Tensor:
    """The most frequent of W digests, [W] -> []; the first of equally frequent ones."""
    votes = tf.math.count_nonzero(tf.equal(digests[:, tf.newaxis], digests), axis=1)
    return digests[tf.argmax(votes)]
