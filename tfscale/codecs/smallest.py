"""Takes the smaller of word32 and bitmap, message by message.

The choice follows from the count alone, before anything is written or subtracted from a residual, so switching codes
loses nothing (DeepLearning4j's switch loses up to D/16 elements).
"""

from typing import final

import tensorflow as tf

from tfscale.codecs import base, bitmap
from tfscale.codecs.bitmap import Bitmap
from tfscale.codecs.word32 import Word32


@final
class Smallest:
    """Encodes with whichever code gives fewer words; decodes both."""

    def __init__(self) -> None:
        self._word32, self._bitmap = Word32(), Bitmap()

    def encode(self, dense: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
        """Returns [3 + min(count, ceil(D / 16))] int32; see `base.Codec`."""
        elements = tf.math.count_nonzero(tf.abs(dense) >= threshold, dtype=tf.int32)
        return tf.cond(
            elements <= -(-tf.size(dense) // bitmap.PER_WORD),
            lambda: self._word32.encode(dense, threshold),
            lambda: self._bitmap.encode(dense, threshold),
        )

    def decode(self, message: tf.Tensor, size: int) -> tf.Tensor:
        """Returns [D] float32; see `base.Codec`."""
        return tf.cond(
            tf.equal(message[0], base.BITMAP),
            lambda: self._bitmap.decode(message, size),
            lambda: self._word32.decode(message, size),
        )
