"""A small convolutional network with batch normalisation, for images of 4x4 and up."""

from collections.abc import Sequence

import keras

from tfscale.errors import UserError
from tfscale.models.head import head


def cnn(
    *, input_shape: Sequence[int], outputs: int, activation: str, filters: Sequence[int], dropout: float
) -> keras.Model:
    """For each width: conv 3x3, batch norm, relu, pool; then global average, dropout and softmax.

    Args:
        input_shape: (height, width, channels).
        outputs: Length of the output.
        activation: Of the output, by Keras's name.
        filters: Widths of the blocks; each halves the image.
        dropout: Fraction of the averages dropped in training, in [0, 1).

    Raises:
        UserError: The input is not an image, or too small to be halved so often.
    """
    if len(input_shape) != 3 or min(input_shape[:2]) < 2 ** len(filters):
        raise UserError(
            f"model=cnn with {len(filters)} blocks must have images of at least {2 ** len(filters)} pixels a side, got "
            f"input shape {tuple(input_shape)}; give fewer model.filters, or use model=mlp"
        )
    layers: list[keras.Layer] = []
    for width in filters:
        layers.extend(
            (
                keras.layers.Conv2D(width, 3, padding="same", use_bias=False),
                keras.layers.BatchNormalization(),
                keras.layers.ReLU(),
                keras.layers.MaxPooling2D(),
            )
        )
    layers.append(keras.layers.GlobalAveragePooling2D())
    if dropout > 0:
        layers.append(keras.layers.Dropout(dropout))
    last = head(outputs, activation)
    return keras.Sequential([keras.Input(tuple(input_shape)), *layers, last])
