"""A recurrent network over ids: gates, and one small matrix used at every position.

References:
    Cho et al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder"; Keras's variant (reset after).
"""

from collections.abc import Sequence

import keras

from tfscale.errors import UserError
from tfscale.models.head import head


def gru(
    *,
    input_shape: Sequence[int],
    outputs: int,
    activation: str,
    vocabulary: int | None,
    width: int,
    units: int,
    sequence: bool = False,
) -> keras.Model:
    """Embedding, one GRU layer, and a dense layer on its last state or on all of them.

    Args:
        input_shape: (length,), of ids.
        outputs: Length of the output.
        activation: Of the output, by Keras's name.
        vocabulary: Number of different ids.
        width: Of an id's embedding.
        units: Of the GRU.
        sequence: Whether there is an output for each position.

    Raises:
        UserError: The input is not a row of ids.
    """
    if len(input_shape) != 1 or vocabulary is None:
        raise UserError(
            f"model=gru must have rows of ids, such as text, got input shape {tuple(input_shape)} and vocabulary "
            f"{vocabulary or 'null'}; use data=text or data=shakespeare, or another model"
        )
    return keras.Sequential(
        [
            keras.Input(tuple(input_shape), dtype="int32"),
            keras.layers.Embedding(vocabulary, width),
            keras.layers.GRU(units, return_sequences=sequence),
            head(outputs, activation),
        ]
    )
