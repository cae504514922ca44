"""Yes or no for each example: two classes, one probability."""

from typing import final

import keras
import numpy as np
import tensorflow as tf

from tfscale.specs import ElementSpec
from tfscale.tasks.base import Measure, Tensors, per_example, refuse, require_shape, target_of, without_last_one

NAME = "binary"


@final
class Binary:
    """Sigmoid and cross-entropy; implements `base.Task`.

    Args:
        spec: Of the data.

    Raises:
        UserError: The targets are not two classes.
    """

    name = NAME

    def __init__(self, spec: ElementSpec) -> None:
        target = target_of(NAME, spec)
        if target.categories != 2 or target.one_hot or without_last_one(target.shape):
            raise refuse(NAME, target, "one of two classes for each example", "task=classification or task=multilabel")
        self.units, self.activation = 1, "sigmoid"
        self.measures = {
            "accuracy": Measure(make=keras.metrics.BinaryAccuracy),
            "auc": Measure(make=keras.metrics.AUC),
        }
        self._names = target.names

    def encode(self, x: Tensors, y: tf.Tensor) -> tf.Tensor:
        """Returns 0 or 1, [b, 1] float32."""
        return tf.reshape(tf.cast(y, tf.float32), [-1, 1])

    def loss(self, targets: Tensors, outputs: Tensors) -> tf.Tensor:
        """Returns the cross-entropy of each example, [b]."""
        require_shape(NAME, outputs, (1,))
        return per_example(keras.losses.BinaryCrossentropy(reduction="none"))(targets, outputs)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Returns the more probable class of each example, [b]: its name where there are names."""
        best = (np.reshape(outputs, -1) > 0.5).astype(np.int64)
        return best if self._names is None else np.asarray(self._names)[best]
