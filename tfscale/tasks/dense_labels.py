"""A class for each position of an example: the pixels of an image, or the tokens of a text."""

from typing import final

import keras
import numpy as np
import tensorflow as tf

from tfscale.specs import ArraySpec, ElementSpec
from tfscale.tasks.base import Measure, Tensors, per_example, refuse, require_shape, target_of, without_last_one


class _DenseLabels:
    """Softmax over the classes at each position, and the mean cross-entropy of the positions."""

    def __init__(self, name: str, spec: ElementSpec, positions: int, wanted: str) -> None:
        target = target_of(name, spec)
        if not is_dense(target, positions):
            raise refuse(name, target, wanted, "task=classification or task=regression")
        self.name, self.units, self.activation = name, target.categories or 0, "softmax"
        self.measures = {"accuracy": Measure(make=keras.metrics.SparseCategoricalAccuracy)}
        self._shape = without_last_one(target.shape) if positions > 1 else target.shape
        self._names = target.names

    def encode(self, x: Tensors, y: tf.Tensor) -> tf.Tensor:
        """Returns class numbers, [b, positions...] int32."""
        return tf.cast(tf.reshape(y, [-1, *self._shape]), tf.int32)

    def loss(self, targets: Tensors, outputs: Tensors) -> tf.Tensor:
        """Returns the mean cross-entropy of each example's positions, [b]."""
        require_shape(self.name, outputs, (*self._shape, self.units))
        return per_example(keras.losses.SparseCategoricalCrossentropy(reduction="none"))(targets, outputs)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Returns the most probable class at each position: its name where there are names."""
        best = np.argmax(outputs, axis=-1)
        return best if self._names is None else np.asarray(self._names)[best]


@final
class Segmentation(_DenseLabels):
    """A class for each pixel, [height, width]; implements `base.Task`.

    Args:
        spec: Of the data.

    Raises:
        UserError: The targets are not pictures of class numbers.
    """

    def __init__(self, spec: ElementSpec) -> None:
        super().__init__("segmentation", spec, 2, "a picture of class numbers, [height, width],")
        self.measures |= {"mean_iou": Measure(make=lambda: keras.metrics.MeanIoU(self.units, sparse_y_pred=False))}


@final
class NextToken(_DenseLabels):
    """The token that follows each position, [length]; implements `base.Task`.

    Args:
        spec: Of the data.

    Raises:
        UserError: The targets are not rows of ids.
    """

    def __init__(self, spec: ElementSpec) -> None:
        super().__init__("next_token", spec, 1, "a row of ids, [length],")


def is_dense(target: ArraySpec, positions: int) -> bool:
    """Returns whether targets are a class for each position along so many axes."""
    shape = without_last_one(target.shape) if positions > 1 else target.shape
    return target.categories is not None and not target.one_hot and len(shape) == positions
