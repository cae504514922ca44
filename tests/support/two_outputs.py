"""A model of a user's own with an output for each target."""

from collections.abc import Mapping, Sequence

import keras


def net(*, input_shape: Sequence[int], outputs: Mapping[str, int], activation: Mapping[str, str]) -> keras.Model:
    """A layer for each output."""
    inputs = keras.Input(tuple(input_shape))
    made = {name: keras.layers.Dense(units, activation[name], name=name)(inputs) for name, units in outputs.items()}
    return keras.Model(inputs, made)
