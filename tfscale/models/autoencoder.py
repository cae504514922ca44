"""A dense autoencoder: the output has the shape of the input, and the narrowest layer is a code of it."""

import math
from collections.abc import Sequence

import keras

from tfscale.errors import UserError
from tfscale.models.head import head


def autoencoder(*, input_shape: Sequence[int], hidden: Sequence[int], activation: str) -> keras.Model:
    """relu layers of falling width, the same in reverse order, and an output of the input's shape.

    Args:
        input_shape: Shape of one example.
        hidden: Widths down to the code's, which is the last.
        activation: Of the output, by Keras's name.

    Raises:
        UserError: There is no hidden layer.
    """
    if not hidden:
        raise UserError("model.hidden must have the width of the code at least, got []; type model.hidden=[128,32]")
    widths = [*hidden, *reversed(list(hidden)[:-1])]
    return keras.Sequential(
        [
            keras.Input(tuple(input_shape)),
            keras.layers.Flatten(),
            *(keras.layers.Dense(width, activation="relu") for width in widths),
            head(math.prod(input_shape), activation),
            keras.layers.Reshape(tuple(input_shape), dtype="float32"),
        ]
    )
