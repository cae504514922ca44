"""A trained model with its preprocessing inside: raw examples in, the model's outputs out.

It consists of Keras's own layers and operations, so that what is saved of it loads without tfscale. Layers that change
training inputs at random are taken out: they are no part of a prediction, and TensorFlow Lite has no such operations.
"""

import re
from typing import Any

import keras

from tfscale.data import layers
from tfscale.data.encoding import Columns, Tokens
from tfscale.errors import UserError
from tfscale.inference.trained import Trained
from tfscale.models.transformer import Position
from tfscale.specs import ArraySpec, leaves, renested

RANDOM = tuple(
    getattr(keras.layers, name)
    for name in dir(keras.layers)
    if (name.startswith("Rand") and name != "RandomCrop") or name in ("AugMix", "CutMix", "MixUp")
)
"""Layers of augmentation, which change nothing outside of training; RandomCrop crops the middle there."""

INPUT = "input"
"""Name of the only input that has none of its own."""


def serving_model(trained: Trained, *, takes_text: bool, wide: bool = True) -> keras.Model:
    """Returns the model from raw examples to outputs.

    Inputs are as the source has them: pixels, unscaled columns, ids. With `takes_text`, texts are strings [b], and a
    table with categories has an input [b] for each column; without, texts are ids [b, length], and a table is a row of
    numbers with 0 and 1 for each category.

    Args:
        trained: The model.
        takes_text: Whether strings are inputs.
        wide: Whether 64-bit inputs are normalized in float64, as in training; if not, in float32.

    Raises:
        UserError: The model cannot be put behind other layers.
    """
    spec, encoding = trained.preprocessing.spec.x, trained.preprocessing.encoding
    by_column = takes_text and isinstance(encoding, Columns) and any(encoding.categories.values())
    inputs: Any
    if takes_text and isinstance(encoding, Tokens) and isinstance(spec, ArraySpec):
        inputs = keras.Input((), dtype="string", name="text")
        raw: Any = layers.ids_of_texts(inputs, encoding.unit, spec.names or (), spec.shape[0])
    elif by_column and isinstance(encoding, Columns):
        names = input_names(encoding)
        inputs = {
            names[column]: keras.Input((), dtype="float64" if known is None else "string", name=names[column])
            for column, known in encoding.categories.items()
        }
        raw = layers.row_of_columns({column: inputs[name] for column, name in names.items()}, encoding.categories)
    else:
        inputs = renested({name: _input(name, part, wide) for name, part in leaves(spec).items()}, spec)
        raw = inputs
    x = _prepared(trained, raw, wide)
    model = plain_layers(trained.model)
    try:
        outputs = model(x, training=False)
    except Exception as error:
        raise UserError(
            f"the model {type(model).__name__} cannot be put behind its preprocessing: {error}; build it with "
            "keras.Model(inputs, outputs) or keras.Sequential"
        ) from error
    return keras.Model(inputs, outputs, name=_identifier(trained.name))


def input_names(encoding: Columns) -> dict[str, str]:
    """Returns column -> name of its input: letters, digits and _, as formats take them.

    Raises:
        UserError: Two columns would have one name.
    """
    names = {column: re.sub(r"\W", "_", column, flags=re.ASCII) or "_" for column in encoding.categories}
    names = {column: f"_{name}" if name[0].isdigit() else name for column, name in names.items()}
    twice = next((column for column in names if [*names.values()].count(names[column]) > 1), None)
    if twice is not None:
        raise UserError(f"the column {twice} must differ from others in letters or digits; rename it in the data")
    return names


def _input(name: str, part: ArraySpec, wide: bool) -> Any:
    dtype = "int32" if part.categories is not None else part.dtype if wide else narrow(part.dtype)
    return keras.Input(part.shape, dtype=dtype, name=name or INPUT)


def narrow(dtype: str) -> str:
    """Returns the dtype of at most 32 bits that is nearest to another."""
    return {"float64": "float32", "int64": "int32", "uint64": "uint32", "float16": "float32"}.get(dtype, dtype)


def _prepared(trained: Trained, raw: Any, wide: bool) -> Any:
    """Returns inputs as the pipeline gives them to the model."""
    learned = trained.preprocessing
    normalizers, parts = leaves(learned.normalizers), leaves(raw)
    prepared = {}
    for name, part in leaves(learned.spec.x).items():
        is_64_bit = wide and part.dtype in ("float64", "int64", "uint64")
        prepared[name] = (
            parts[name]
            if part.categories is not None
            else layers.normalized(parts[name], normalizers[name], "float64" if is_64_bit else "float32")
        )
    return renested(prepared, learned.spec.x)


def _identifier(name: str) -> str:
    """Returns a run's name as Keras and TensorFlow take it for a model."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name) or "model"


def plain_layers(model: keras.Model) -> keras.Model:
    """Returns a model without augmentation and without layers of tfscale's own; it shares all other layers.

    A subclassed model is returned as it is.
    """
    if isinstance(model, keras.Sequential):
        kept = [_plain(layer) for layer in model.layers if not isinstance(layer, RANDOM)]
        if all(new is old for new, old in zip(kept, model.layers, strict=False)) and len(kept) == len(model.layers):
            return model
        return keras.Sequential([keras.Input(batch_shape=model.input_shape, dtype=model.input_dtype), *kept])
    if type(model) is not keras.Model and not _is_functional(model):
        return model
    if not any(isinstance(layer, (*RANDOM, Position, keras.Model)) for layer in model.layers):
        return model
    return keras.models.clone_model(model, clone_function=_plain, call_function=_call)


def _is_functional(model: keras.Model) -> bool:
    return type(model).__name__ == "Functional"


def _plain(layer: keras.Layer) -> keras.Layer:
    return plain_layers(layer) if isinstance(layer, keras.Model) else layer


def _call(layer: keras.Layer, *arguments: Any, **options: Any) -> Any:
    """Calls a layer in a copied graph."""
    if isinstance(layer, RANDOM):
        return arguments[0]
    if isinstance(layer, Position):
        return layer.with_keras_layers(arguments[0])
    return layer(*arguments, **options)
