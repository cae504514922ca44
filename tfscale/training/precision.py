"""Precision of the computation: Keras's mixed policies, and loss scaling for float16.

Variables, gradients and everything that is exchanged stay float32; layers compute in 16 bits. Small gradients would be
0 in float16, so the loss is multiplied by a scale before they are computed, and they are divided by it after. The scale
falls when a step is skipped because a gradient was not finite, and rises after many that were not. Strategies count
skipped steps alike in all processes, so all replicas have one scale without an exchange of its own.

References:
    Micikevicius et al. 2018, "Mixed Precision Training"; the numbers are those of Keras's LossScaleOptimizer.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Literal, final

import keras
import tensorflow as tf

from tfscale.vectors import counter

Precision = Literal["float32", "bfloat16", "float16"]

POLICIES: Mapping[Precision, str] = MappingProxyType({"bfloat16": "mixed_bfloat16", "float16": "mixed_float16"})
"""Precision -> Keras's dtype policy; float32 leaves the policy that the user's code has set."""

INITIAL = 2.0**15
"""The first scale."""

HIGHEST = 2.0**127
"""The highest scale: the largest power of 2 in float32."""

GROWTH_STEPS = 2000
"""Steps without a skipped one after which the scale is doubled."""


@contextmanager
def dtype_policy(precision: Precision) -> Iterator[None]:
    """Builds layers with the policy of a precision, if they name no other."""
    before = keras.config.dtype_policy()
    if precision in POLICIES:
        keras.config.set_dtype_policy(POLICIES[precision])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def in_float32(output: tf.Tensor) -> tf.Tensor:
    """Casts an output of 16 bits to float32, in which losses and metrics are computed."""
    return tf.cast(output, tf.float32) if output.dtype in (tf.float16, tf.bfloat16) else output


@final
class LossScale:
    """The scale of the losses of all replicas, which is a power of 2, so that scaling rounds nothing.

    Attributes:
        value: [] float32.
    """

    def __init__(self) -> None:
        self.value = tf.Variable(tf.constant(INITIAL), trainable=False)
        self._finite, self._skipped = counter(), counter()

    def update(self, skipped: tf.Tensor) -> None:
        """Halves the scale if a step has been skipped since the last call; doubles it after `GROWTH_STEPS` calls.

        Args:
            skipped: [] int64, steps skipped since the start, equal in all processes.
        """
        overflowed = skipped > self._skipped
        finite = tf.where(overflowed, tf.constant(0, tf.int64), self._finite + 1)
        grows = finite >= GROWTH_STEPS
        factor = tf.where(overflowed, 0.5, tf.where(grows, 2.0, 1.0))
        self._skipped.assign(skipped)
        self._finite.assign(tf.where(grows, tf.constant(0, tf.int64), finite))
        self.value.assign(tf.clip_by_value(self.value * factor, 1.0, HIGHEST))

    def state(self) -> Mapping[str, tf.Variable]:
        """Returns the variables to save."""
        return {"scale": self.value, "finite_steps": self._finite, "skipped": self._skipped}
