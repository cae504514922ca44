"""Any architecture of keras.applications, with a head of its own.

The base is called base and the last layer head, so `model.freeze=[base]` trains the head alone, and another number of
classes changes nothing else. Inputs are the pipeline's, 0 to 1; what an architecture expects instead is part of the
model. Images of one channel become three equal ones, as `preprocess_input` and ImageNet's weights need three.

References:
    Keras's guide "Transfer learning and fine-tuning".
"""

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import keras

from tfscale.errors import UserError, first_line
from tfscale.models.head import head

BYTES = 255.0
"""Value of white in the inputs of `preprocess_input`."""

TAKEN = {
    "include_top": "model.outputs",
    "weights": "model.weights",
    "input_shape": "model.input_shape",
    "input_tensor": "model.input_shape",
    "pooling": "model.pooling",
    "classes": "model.outputs",
    "classifier_activation": "model.activation",
    "name": "model.name",
}
"""Arguments of the functions that have a key of their own."""


def application(
    *,
    name: str,
    weights: Literal["imagenet"] | None,
    input_shape: Sequence[int],
    outputs: int,
    activation: str,
    resize: Sequence[int] | None,
    pooling: Literal["avg", "max"],
    dropout: float,
    options: Mapping[str, Any],
) -> keras.Model:
    """Scaling, the base, global pooling, dropout and a dense layer.

    Args:
        name: Of the function in keras.applications.
        weights: Of the base; None for random ones.
        input_shape: (height, width, 1 or 3).
        outputs: Length of the output.
        activation: Of the output, by Keras's name.
        resize: (height, width) that images are resized to.
        pooling: Over the positions of the base's output.
        dropout: Fraction dropped before the last layer in training, in [0, 1).
        options: Other arguments of the function.

    Raises:
        UserError: There is no such architecture, or it does not take these images or options; or its weights cannot be
            downloaded.
    """
    function = _function(name)
    _check_options(name, function, options)
    if len(input_shape) != 3 or input_shape[2] not in (1, 3):
        raise UserError(
            f"model=application must have images of 1 or 3 channels, got input shape {tuple(input_shape)}; use "
            "data=images, or another model"
        )
    inputs = keras.Input(tuple(input_shape))
    x = inputs if resize is None else keras.layers.Resizing(resize[0], resize[1])(inputs)
    x = x if input_shape[2] == 3 else keras.layers.Concatenate()([x, x, x])
    x = importlib.import_module(function.__module__).preprocess_input(keras.layers.Rescaling(BYTES)(x))
    base = _base(name, function, weights, (*(resize or input_shape[:2]), 3), options)
    pool = keras.layers.GlobalAveragePooling2D if pooling == "avg" else keras.layers.GlobalMaxPooling2D
    x = pool()(base(x))
    if dropout > 0:
        x = keras.layers.Dropout(dropout)(x)
    return keras.Model(inputs, head(outputs, activation, name="head")(x))


def architectures() -> dict[str, Callable[..., keras.Model]]:
    """Returns the functions of keras.applications by name."""
    return dict(inspect.getmembers(keras.applications, inspect.isfunction))


def _function(name: str) -> Callable[..., keras.Model]:
    known = architectures()
    if name not in known:
        raise UserError(
            f"model.name must be an architecture of keras.applications, got {name}; {_closest(name, list(known))}"
        )
    return known[name]


def _check_options(name: str, function: Callable[..., keras.Model], options: Mapping[str, Any]) -> None:
    known = [key for key in inspect.signature(function).parameters if key not in TAKEN]
    for key in options:
        if key in TAKEN:
            raise UserError(f"model.options.{key} must be left out: it is the key {TAKEN[key]}")
        if key not in known:
            raise UserError(
                f"model.options.{key} must be an option of {name}, got {key}; "
                + (_closest(key, known) if known else "it has none")
            )


def _base(
    name: str,
    function: Callable[..., keras.Model],
    weights: str | None,
    shape: tuple[int, ...],
    options: Mapping[str, Any],
) -> keras.Model:
    """Returns the architecture without its own head, called base."""
    try:
        base = function(include_top=False, weights=weights, input_shape=shape, **options)
    except Exception as error:  # a failed download is no more specific
        height, width, _ = shape
        raise UserError(
            f"model=application cannot make {name} for images of {height}x{width}: {first_line(error)}; set "
            "model.resize=[HEIGHT,WIDTH], or see keras.io/api/applications for what it takes"
        ) from error
    base.name = "base"  # afterwards, as functions look their weights up by the name
    return base


def _closest(word: str, known: Sequence[str]) -> str:
    """Returns a hint with the most similar names, or all if none is similar."""
    same = [each for each in known if each.lower().startswith(word.lower()[:5])]
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.5) or same[:3]
    return f"did you mean {' or '.join(near)}?" if near else f"it must be one of {', '.join(known)}"
