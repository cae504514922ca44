"""LeNet as DeepLearning4j's MNIST tutorial builds it: 431,080 parameters on 28x28 images.

References:
    LeCun et al. 1998; the widths are the tutorial's (20 and 50 filters of 5x5, 500 dense), its activations too.
"""

from collections.abc import Sequence

import keras

from tfscale.errors import UserError
from tfscale.models.head import head

SMALLEST = 16
"""Pixels a side that two 5x5 convolutions and two poolings need."""


def lenet(*, input_shape: Sequence[int], outputs: int, activation: str) -> keras.Model:
    """conv 5x5x20, pool, conv 5x5x50, pool, dense 500 relu, softmax.

    Args:
        input_shape: (height, width, channels), at least 16x16.
        outputs: Length of the output.
        activation: Of the output, by Keras's name.

    Raises:
        UserError: The images are smaller.
    """
    if len(input_shape) != 3 or min(input_shape[:2]) < SMALLEST:
        raise UserError(
            f"model=lenet must have images of at least {SMALLEST}x{SMALLEST}, got input shape {tuple(input_shape)}; "
            "use data=mnist, or model=cnn or model=mlp"
        )
    return keras.Sequential(
        [
            keras.Input(tuple(input_shape)),
            keras.layers.Conv2D(20, 5),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(50, 5),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(500, activation="relu"),
            head(outputs, activation),
        ]
    )
