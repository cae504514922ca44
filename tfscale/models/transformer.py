"""A small transformer over ids: layer norms, many small tensors, and the attention that large models are made of.

With one class for a whole window, attention needs no causal mask, and the last position, which is next to the one to
guess, is read out. With an output for each position, a position sees only itself and those before it.

References:
    Vaswani et al. 2017, "Attention Is All You Need"; norms before the blocks, after Xiong et al. 2020.
"""

from collections.abc import Sequence
from typing import final

import keras

from tfscale.errors import UserError
from tfscale.models.head import head

EXPANSION = 4
"""Width of a block's dense pair, over the block's."""


@final
class Position(keras.layers.Layer):
    """Adds a learned vector to each position: [b, length, width] -> the same."""

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Makes the vectors, [length, width]."""
        self._vectors = self.add_weight(shape=tuple(input_shape[1:]), initializer="uniform", name="vectors")

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Returns x with the vectors added."""
        return keras.ops.add(x, self._vectors)  # pyright: ignore[reportReturnType]

    def with_keras_layers(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Returns what `call` returns, by a layer of Keras's own with the same vectors: for saved models."""
        length, width = self._vectors.shape
        ones = keras.ops.ones_like(x[:1, :, 0], dtype="int32")
        places = keras.ops.subtract(keras.ops.cumsum(ones, axis=1), 1)
        layer = keras.layers.Embedding(length, width, name=self.name)
        layer.build()
        layer.set_weights([self._vectors.numpy()])
        return keras.ops.add(x, layer(places))  # pyright: ignore[reportReturnType]


def _block(x: keras.KerasTensor, width: int, heads: int, causal: bool) -> keras.KerasTensor:
    """Attention, then a dense pair, each on the norm of what it adds to."""
    normed = keras.layers.LayerNormalization()(x)
    x = x + keras.layers.MultiHeadAttention(heads, width // heads)(normed, normed, use_causal_mask=causal)
    hidden = keras.layers.Dense(EXPANSION * width, activation="gelu")(keras.layers.LayerNormalization()(x))
    return x + keras.layers.Dense(width)(hidden)


def transformer(
    *,
    input_shape: Sequence[int],
    outputs: int,
    activation: str,
    vocabulary: int | None,
    width: int,
    heads: int,
    blocks: int,
    sequence: bool = False,
) -> keras.Model:
    """Token plus position embedding, pre-norm blocks, and a dense layer on the last position or on all.

    Args:
        input_shape: (length,), of ids.
        outputs: Length of the output.
        activation: Of the output, by Keras's name.
        vocabulary: Number of different ids.
        width: Of embeddings and blocks, a multiple of `heads`.
        heads: Of each attention.
        blocks: How many.
        sequence: Whether there is an output for each position.

    Raises:
        UserError: The input is not a row of ids, or the heads do not divide the width.
    """
    if len(input_shape) != 1 or vocabulary is None:
        raise UserError(
            f"model=transformer must have rows of ids, such as text, got input shape {tuple(input_shape)} and "
            f"vocabulary {vocabulary or 'null'}; use data=text or data=shakespeare, or another model"
        )
    if width % heads:
        raise UserError(
            f"model.width must be a multiple of model.heads={heads}, got {width}; give model.width="
            f"{-(-width // heads) * heads}"
        )
    ids = keras.Input(tuple(input_shape), dtype="int32")
    x = Position()(keras.layers.Embedding(vocabulary, width)(ids))
    for _ in range(blocks):
        x = _block(x, width, heads, sequence)
    read = keras.layers.LayerNormalization()(x if sequence else x[:, -1])
    return keras.Model(ids, head(outputs, activation)(read))
