"""The last layer of every shipped model."""

import keras


def head(outputs: int, activation: str, *, name: str | None = None) -> keras.Layer:
    """Returns a dense layer that computes in float32 at every `train.precision`.

    In 16 bits a softmax or a sigmoid rounds small probabilities to 0, and the loss to infinity.

    Args:
        outputs: Length of the output.
        activation: By Keras's name.
        name: Of the layer.

    References:
        Keras's guide "Mixed precision".
    """
    return keras.layers.Dense(outputs, activation=activation, dtype="float32", name=name)
