"""An exponential moving average of a replica's weights.

It is the model that is evaluated, kept and returned at the end, while training goes on with the weights themselves.
Strategies combine it over replicas as they do weights: the mean of averages is the average of means.

References:
    Polyak and Juditsky 1992; Keras's `use_ema` (the first average is the weights after the first step).
"""

from collections.abc import Mapping, Sequence
from typing import final

import keras
import tensorflow as tf


@final
class WeightAverage:
    """average = momentum * average + (1 - momentum) * weight, after every step.

    Args:
        weights: The trainable variables, on their device.
        momentum: In [0, 1).
    """

    def __init__(self, weights: Sequence[keras.Variable], momentum: float) -> None:
        self._weights, self._momentum = weights, momentum
        self.values = [tf.Variable(each.value, trainable=False) for each in weights]

    def update(self, step: tf.Tensor) -> None:
        """Takes the weights after a step.

        Args:
            step: [] int64, steps completed, this one included.
        """
        keep = tf.where(step > 1, tf.constant(self._momentum, tf.float32), 0.0)
        for average, weight in zip(self.values, self._weights, strict=True):
            average.assign(keep * average + (1.0 - keep) * weight.value)

    def state(self) -> Mapping[str, tf.Variable]:
        """Returns the variables to save, by the paths of the weights."""
        return {weight.path: average for weight, average in zip(self._weights, self.values, strict=True)}
