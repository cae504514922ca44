"""Preprocessing as Keras layers and operations: what an exported model holds, and what tokenises texts for training.

Only Keras's own layers and operations, so that a saved model loads without tfscale.
"""

from collections.abc import Sequence
from typing import Literal

import keras
import numpy as np

from tfscale.data.base import Normalizer


def vectorization(
    unit: Literal["words", "characters"], vocabulary: Sequence[str] | None = None, *, size: int | None = None
) -> keras.layers.TextVectorization:
    """Returns the layer from texts [b] to ragged ids; id 0 is no token, and 1 one outside of the vocabulary.

    Args:
        unit: Of a token.
        vocabulary: Token of each id, the first two included; None to let the layer learn it.
        size: Most ids, for a layer that learns.
    """
    words = unit == "words"
    return keras.layers.TextVectorization(
        max_tokens=size,
        standardize="lower_and_strip_punctuation" if words else None,  # pyright: ignore[reportArgumentType]
        split="whitespace" if words else "character",
        ragged=True,
        vocabulary=None if vocabulary is None else np.asarray(vocabulary[2:]),
    )


def normalized(x: keras.KerasTensor, normalizer: Normalizer, dtype: str) -> keras.KerasTensor:
    """Returns an input [b, ...] as the model gets it, float32: the operations of `normalize.applied`.

    Args:
        x: Measurements.
        normalizer: Of the input.
        dtype: In which the operations are done: float64 for 64-bit inputs, otherwise float32.
    """
    ops = keras.ops
    values = ops.cast(x, dtype)
    if normalizer.fill is not None:
        values = ops.where(ops.isnan(values), np.asarray(normalizer.fill, dtype), values)
    if normalizer.offset is not None:
        values = ops.subtract(values, np.asarray(normalizer.offset, dtype))
    if normalizer.factor is not None:
        values = ops.multiply(values, np.asarray(normalizer.factor, dtype))
    return ops.cast(values, "float32")  # pyright: ignore[reportReturnType]
