"""One class of several for each example: class numbers, names, or one-hot rows."""

from typing import final

import keras
import numpy as np
import tensorflow as tf

from tfscale.errors import UserError
from tfscale.specs import ElementSpec
from tfscale.tasks.base import Measure, Tensors, per_example, refuse, require_shape, target_of, without_last_one

NAME = "classification"


@final
class Classification:
    """Softmax over the classes and cross-entropy; implements `base.Task`.

    Args:
        spec: Of the data.

    Raises:
        UserError: The targets are not one class for each example.
    """

    name = NAME

    def __init__(self, spec: ElementSpec) -> None:
        target = target_of(NAME, spec)
        shape = without_last_one(target.shape)
        if target.categories is None:
            raise refuse(NAME, target, "class numbers or names", "task=regression")
        if target.one_hot and len(target.shape) == 1:
            self.units, self._one_hot = target.shape[0], True
        elif not shape:
            self.units, self._one_hot = target.categories, False
        else:
            raise refuse(NAME, target, "one class for each example", "task=multilabel or task=segmentation")
        if self.units < 2:
            raise UserError(f"task={NAME} must have at least 2 classes, got {self.units}; give more examples")
        self.activation = "softmax"
        self.measures = {"accuracy": Measure(make=keras.metrics.SparseCategoricalAccuracy)}
        self._names = target.names

    def encode(self, x: Tensors, y: tf.Tensor) -> tf.Tensor:
        """Returns class numbers, [b] int32."""
        if self._one_hot:
            return tf.argmax(tf.cast(y, tf.float32), axis=-1, output_type=tf.int32)
        return tf.cast(tf.reshape(y, [-1]), tf.int32)

    def loss(self, targets: Tensors, outputs: Tensors) -> tf.Tensor:
        """Returns the cross-entropy of each example, [b]."""
        require_shape(NAME, outputs, (self.units,))
        return per_example(keras.losses.SparseCategoricalCrossentropy(reduction="none"))(targets, outputs)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Returns the most probable class of each example, [b]: its name where there are names."""
        best = np.argmax(outputs, axis=-1)
        return best if self._names is None else np.asarray(self._names)[best]
