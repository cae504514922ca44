"""Decodes JPEG and PNG files to images of one size, in a graph."""

from collections.abc import Callable, Sequence

import tensorflow as tf


def decoder(size: Sequence[int], *, crop: bool, channels: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a graph function from the bytes of a file to an image [height, width, channels] uint8.

    Args:
        size: (height, width) of every image.
        crop: Whether an image keeps its proportions, and its middle is taken.
        channels: 1 or 3.
    """

    def resized(image: tf.Tensor) -> tf.Tensor:
        whole = tf.cast(image, tf.float32)
        if crop:
            scale = tf.reduce_max(tf.cast(size, tf.float32) / tf.cast(tf.shape(image)[:2], tf.float32))
            near = tf.cast(tf.math.ceil(tf.cast(tf.shape(image)[:2], tf.float32) * scale - 1e-4), tf.int32)
            whole = tf.image.resize_with_crop_or_pad(tf.image.resize(whole, near, antialias=True), *size)
        else:
            whole = tf.image.resize(whole, size, antialias=True)
        return tf.saturate_cast(tf.round(whole), tf.uint8)

    def decode(content: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(content, channels=channels, expand_animations=False)
        fits = tf.reduce_all(tf.shape(image)[:2] == tf.constant(size))
        image = tf.cond(fits, lambda: image, lambda: resized(image))
        return tf.ensure_shape(image, (*size, channels))

    return decode
