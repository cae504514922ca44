"""The input itself, as an autoencoder predicts it."""

import math
from typing import final

import keras
import numpy as np
import tensorflow as tf

from tfscale.specs import ElementSpec, Nested
from tfscale.tasks.base import Measure, Tensors, per_example, refuse, require_shape, single

NAME = "reconstruction"


@final
class Reconstruction:
    """The mean squared error between input and output; implements `base.Task`.

    The data's own targets, if there are any, are not used.

    Args:
        spec: Of the data.

    Raises:
        UserError: The input is not one tensor of measurements.
    """

    name = NAME

    def __init__(self, spec: ElementSpec) -> None:
        x = single(NAME, spec.x, "input")
        if x.categories is not None:
            raise refuse(NAME, x, "measurements", "task=next_token")
        self.units, self._shape = math.prod(x.shape), x.shape
        self.activation = "sigmoid" if x.dtype == "uint8" else "linear"  # bytes are scaled to 0..1
        self.measures = {
            "rmse": Measure(make=keras.metrics.RootMeanSquaredError),
            "mae": Measure(make=keras.metrics.MeanAbsoluteError),
        }

    def encode(self, x: Tensors, y: Tensors) -> Tensors:
        """Returns the input as the model gets it, [b, ...]."""
        return x

    def loss(self, targets: Tensors, outputs: Tensors) -> tf.Tensor:
        """Returns the mean squared error of each example, [b]."""
        require_shape(NAME, outputs, self._shape, "use model=autoencoder, or end your model with a Reshape")
        return per_example(keras.losses.MeanSquaredError(reduction="none"))(targets, outputs)

    def decode(self, outputs: Nested[np.ndarray]) -> Nested[np.ndarray]:
        """Returns the outputs."""
        return outputs
