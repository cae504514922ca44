"""A siamese network: one tower for two inputs, and a decision about how they differ.

References:
    Bromley et al. 1993, "Signature Verification using a Siamese Time Delay Neural Network"; Koch et al. 2015 (the
    absolute difference of the two codes).
"""

from collections.abc import Mapping, Sequence

import keras

from tfscale.errors import UserError
from tfscale.models.head import head


def siamese(
    *, input_shape: Mapping[str, Sequence[int]], hidden: Sequence[int], outputs: int, activation: str
) -> keras.Model:
    """Dense relu layers that both inputs share, the absolute difference, and a dense output.

    Args:
        input_shape: Name -> shape of one example, of two inputs of one shape.
        hidden: Widths of the shared layers.
        outputs: Length of the output.
        activation: Of the output, by Keras's name.

    Raises:
        UserError: There are not two inputs of one shape.
    """
    shapes = list(input_shape.values()) if isinstance(input_shape, Mapping) else [input_shape]
    if len(shapes) != 2 or list(shapes[0]) != list(shapes[1]):
        raise UserError(
            f"model=siamese must have two inputs of one shape, got {', '.join(map(str, map(tuple, shapes)))}; save "
            "arrays called x_train.left and x_train.right"
        )
    layers = [keras.layers.Dense(width, activation="relu") for width in hidden]
    tower = keras.Sequential([keras.Input(tuple(shapes[0])), keras.layers.Flatten(), *layers], name="tower")
    inputs = {name: keras.Input(tuple(shape), name=name) for name, shape in input_shape.items()}
    one, other = (tower(each) for each in inputs.values())
    difference = keras.ops.absolute(keras.ops.subtract(one, other))
    return keras.Model(inputs, head(outputs, activation, name="head")(difference))
