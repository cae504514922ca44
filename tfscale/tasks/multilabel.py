"""Any number of several labels for each example: a row of 0 and 1."""

from typing import final

import keras
import numpy as np
import tensorflow as tf

from tfscale.specs import ElementSpec
from tfscale.tasks.base import Measure, Tensors, per_example, refuse, require_shape, target_of

NAME = "multilabel"


@final
class Multilabel:
    """A sigmoid for each label, and the mean of their cross-entropies; implements `base.Task`.

    Args:
        spec: Of the data.

    Raises:
        UserError: The targets are not rows of 0 and 1.
    """

    name = NAME

    def __init__(self, spec: ElementSpec) -> None:
        target = target_of(NAME, spec)
        if target.categories != 2 or len(target.shape) != 1:
            raise refuse(NAME, target, "a row of 0 and 1 for each example", "task=classification or task=regression")
        self.units, self.activation = target.shape[0], "sigmoid"
        self.measures = {
            "accuracy": Measure(make=keras.metrics.BinaryAccuracy),
            "auc": Measure(make=lambda: keras.metrics.AUC(multi_label=True, num_labels=self.units)),
        }

    def encode(self, x: Tensors, y: tf.Tensor) -> tf.Tensor:
        """Returns 0 or 1, [b, labels] float32."""
        return tf.cast(y, tf.float32)

    def loss(self, targets: Tensors, outputs: Tensors) -> tf.Tensor:
        """Returns the mean cross-entropy of each example's labels, [b]."""
        require_shape(NAME, outputs, (self.units,))
        return per_example(keras.losses.BinaryCrossentropy(reduction="none"))(targets, outputs)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Returns 0 or 1 for each label, [b, labels]."""
        return (outputs > 0.5).astype(np.int64)
