"""Specs, headers and updates for tests of compression."""

from collections.abc import Sequence

import tensorflow as tf

from tfscale.compression import message as framing
from tfscale.compression.backends.base import Backend, SparseUpdate, Spec
from tfscale.compression.codecs.base import Code
from tfscale.compression.codecs.bitmap import Bitmap
from tfscale.compression.codecs.rice import Rice
from tfscale.compression.codecs.smallest import Smallest
from tfscale.compression.codecs.word32 import Word32
from tfscale.vectors import Layout

CODECS = {"word32": Word32, "bitmap": Bitmap, "rice": Rice, "smallest": Smallest}


DAMAGED = (tf.errors.DataLossError, tf.errors.InvalidArgumentError)


def spec(*sizes: int, codes: Sequence[Code] | None = None, scale: float = 1.0, **settings: object) -> Spec:
    names = tuple(f"tensor{index}" for index in range(len(sizes)))
    values = {
        "min_size": 0,
        "momentum": 0.0,
        "nesterov": False,
        "masking": True,
        "levels": 1,
        **settings,
    }
    return Spec(layout=Layout(names=names, sizes=sizes), codes=codes or Smallest().codes, scale=scale, **values)


def header(thresholds: tf.Tensor, digest: int = 5, residual_ratio: int = 130) -> tf.Tensor:
    return tf.stack(
        [tf.constant(7), framing.threshold_word(thresholds), tf.constant(digest), tf.constant(residual_ratio)]
    )


def add(backend: Backend, residual: tf.Variable, given: tf.Tensor, thresholds: tf.Tensor) -> SparseUpdate:
    """Accumulates without momentum."""
    return backend.accumulate(residual, None, backend.check(given), thresholds)


def update_of(tensors: int, *dense_values: float, usable: bool = True) -> SparseUpdate:
    """An update without sparse elements."""
    return SparseUpdate(
        tf.zeros([0], tf.int32), tf.zeros([tensors]), tf.constant(dense_values, tf.float32), tf.constant(usable)
    )
