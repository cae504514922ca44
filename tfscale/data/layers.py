"""Preprocessing as Keras layers and operations: what an exported model holds, and what tokenises texts for training.

Only Keras's own layers and operations, so that a saved model loads without tfscale.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import keras
import numpy as np

from tfscale.data.base import Normalizer


def vectorization(
    unit: Literal["words", "characters"],
    vocabulary: Sequence[str] | None = None,
    *,
    size: int | None = None,
    length: int | None = None,
) -> keras.layers.TextVectorization:
    """Returns the layer from texts [b] to ids; id 0 is no token, and 1 one outside of the vocabulary.

    Args:
        unit: Of a token.
        vocabulary: Token of each id, the first two included; None to let the layer learn it.
        size: Most ids, for a layer that learns.
        length: Ids of each text, cut or filled up with 0 behind; None for ragged rows.
    """
    words = unit == "words"
    return keras.layers.TextVectorization(
        max_tokens=size,
        standardize="lower_and_strip_punctuation" if words else None,  # pyright: ignore[reportArgumentType]
        split="whitespace" if words else "character",
        ragged=length is None,
        output_sequence_length=length,
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
        is_nan = ops.not_equal(values, values)  # the operation of this name is missing in LiteRT
        values = ops.where(is_nan, np.asarray(normalizer.fill, dtype), values)
    if normalizer.offset is not None:
        values = ops.subtract(values, np.asarray(normalizer.offset, dtype))
    if normalizer.factor is not None:
        values = ops.multiply(values, np.asarray(normalizer.factor, dtype))
    return ops.cast(values, "float32")  # pyright: ignore[reportReturnType]


def ids_of_texts(
    texts: keras.KerasTensor, unit: Literal["words", "characters"], vocabulary: Sequence[str], length: int
) -> keras.KerasTensor:
    """Returns texts [b] as ids [b, length] int32: zeros in front, then the first tokens of each text."""
    ops = keras.ops
    ids = vectorization(unit, vocabulary, length=length)(texts)  # filled up behind
    missing = length - ops.sum(ops.cast(ops.not_equal(ids, 0), "int32"), axis=1, keepdims=True)
    place = ops.expand_dims(ops.arange(length, dtype="int32"), 0) - missing
    moved = ops.take_along_axis(ids, ops.cast(ops.maximum(place, 0), "int64"), axis=1)
    return ops.cast(ops.where(place < 0, ops.zeros_like(moved), moved), "int32")  # pyright: ignore[reportReturnType]


def row_of_columns(
    columns: Mapping[str, keras.KerasTensor], categories: Mapping[str, tuple[str, ...] | None]
) -> keras.KerasTensor:
    """Returns columns [b] of a table, text or numbers, as rows of numbers [b, columns] float64.

    A category that no training example has is an error when the model runs.
    """
    parts = []
    for name, known in categories.items():
        if known is None:
            parts.append(keras.ops.expand_dims(keras.ops.cast(columns[name], "float64"), -1))
        else:
            lookup = keras.layers.StringLookup(vocabulary=list(known), output_mode="one_hot", num_oov_indices=0)
            parts.append(keras.ops.cast(lookup(columns[name]), "float64"))
    return keras.ops.concatenate(parts, axis=1)  # pyright: ignore[reportReturnType]
