"""Dense layers on flattened input: the model for a first run."""

from collections.abc import Sequence

import keras

from tfscale.models.head import head


def mlp(
    *, input_shape: Sequence[int], outputs: int, activation: str, hidden: Sequence[int], dropout: float
) -> keras.Model:
    """relu layers of the given widths, then softmax.

    Args:
        input_shape: Shape of one example.
        outputs: Length of the output.
        activation: Of the output, by Keras's name.
        hidden: Widths of the hidden layers; may be empty (logistic regression).
        dropout: Fraction of each hidden layer dropped in training, in [0, 1).
    """
    layers: list[keras.Layer] = [keras.Input(tuple(input_shape)), keras.layers.Flatten()]
    for width in hidden:
        layers.append(keras.layers.Dense(width, activation="relu"))
        if dropout > 0:
            layers.append(keras.layers.Dropout(dropout))
    return keras.Sequential([*layers, head(outputs, activation)])
