"""Formats of exports, and the options of `tfscale export`; no TensorFlow."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

from tfscale.errors import UserError

Format: TypeAlias = Literal["keras", "saved_model", "weights", "onnx", "tflite"]

ENDINGS: Mapping[Format, tuple[str, ...]] = MappingProxyType(
    {
        "keras": (".keras",),
        "saved_model": ("",),
        "weights": (".safetensors", ".weights.h5"),
        "onnx": (".onnx",),
        "tflite": (".tflite",),
    }
)
"""Format -> endings of its files, the default first; "" for a folder."""


def format_of(text: str) -> Format:
    """Returns the format of a name.

    Raises:
        UserError: There is none.
    """
    for known in get_args(Format):
        if text == known:
            return known
    raise UserError(f"format must be one of {', '.join(get_args(Format))}, got {text}; choose one of them")
