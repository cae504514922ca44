"""One or several measurements for each example."""

from typing import final

import keras
import numpy as np
import tensorflow as tf

from tfscale.errors import UserError
from tfscale.specs import ElementSpec
from tfscale.tasks.base import Measure, Tensors, per_example, refuse, require_shape, target_of

NAME = "regression"


@final
class Regression:
    """Linear outputs and the mean squared error; implements `base.Task`.

    Args:
        spec: Of the data.

    Raises:
        UserError: The targets are not numbers, or have more axes than one.
    """

    name = NAME

    def __init__(self, spec: ElementSpec) -> None:
        target = target_of(NAME, spec)
        if target.names is not None:
            raise refuse(NAME, target, "numbers", "task=classification")
        if len(target.shape) > 1:
            raise UserError(
                f"task={NAME} must have a number or a row of numbers as target, got shape {target.shape}; use "
                "task=reconstruction, or flatten it"
            )
        self.units, self.activation = (target.shape or (1,))[0], "linear"
        self.measures = {
            "mae": Measure(make=keras.metrics.MeanAbsoluteError),
            "rmse": Measure(make=keras.metrics.RootMeanSquaredError),
            "r2": Measure(make=keras.metrics.R2Score),
        }

    def encode(self, x: Tensors, y: tf.Tensor) -> tf.Tensor:
        """Returns numbers, [b, units] float32."""
        return tf.reshape(tf.cast(y, tf.float32), [-1, self.units])

    def loss(self, targets: Tensors, outputs: Tensors) -> tf.Tensor:
        """Returns the mean squared error of each example, [b]."""
        require_shape(NAME, outputs, (self.units,))
        return per_example(keras.losses.MeanSquaredError(reduction="none"))(targets, outputs)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Returns the outputs, [b] if there is one a example and otherwise [b, units]."""
        return outputs[:, 0] if self.units == 1 else outputs
