"""A number that stands for tensors, so that processes can tell whether they hold the same."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfscale.kernels import library

Digest = Callable[[Sequence[tf.Tensor]], tf.Tensor]
"""float32 tensors -> [] int32 that differs, but for one case in 2^32, if they do."""


def choose(devices: Sequence[str]) -> Digest:
    """The kernel's where it is built and the replicas are on CPUs, else the plain operations'; they give equal bits."""
    operations = library.load() if all("CPU" in device.upper() for device in devices) else None
    if operations is None:
        return plain_digest
    return lambda parameters: operations.tfscale_digest(list(parameters))


def plain_digest(parameters: Sequence[tf.Tensor]) -> tf.Tensor:
    """Words times odd numbers that their places give (`FactorOf` in the kernel), added modulo 2^64, and folded."""
    total, start = tf.constant(0, tf.int64), tf.constant(0, tf.int64)
    for each in parameters:
        words = tf.cast(tf.bitcast(tf.reshape(each, [-1]), tf.uint32), tf.int64)
        places = start + tf.range(tf.size(words, tf.int64), dtype=tf.int64)
        factors = tf.bitwise.bitwise_and((2 * places + 1) * 0x9E3779B1, 0xFFFFFFFF)
        total += tf.reduce_sum(words * factors)
        start += tf.size(words, tf.int64)
    low, high = tf.bitwise.bitwise_and(total, 0xFFFFFFFF), tf.bitwise.right_shift(total, 32)
    folded = tf.bitwise.bitwise_xor(low, tf.bitwise.bitwise_and(high, 0xFFFFFFFF))
    return tf.bitcast(tf.cast(folded, tf.uint32), tf.int32)


def usual(digests: tf.Tensor) -> tf.Tensor:
    """[W] -> []: what most are; the first of them where none is more often."""
    votes = tf.math.count_nonzero(tf.equal(digests[:, tf.newaxis], digests), axis=1)
    return digests[tf.argmax(votes)]
