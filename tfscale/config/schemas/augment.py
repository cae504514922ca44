"""Options of Keras layers that `data.augment` may name; what they do is Keras's documentation."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from tfscale.config.schemas.fields import Table, rule

Factor = Annotated[
    float | list[float], rule("a fraction, or a list of the lowest and the highest", union_mode="left_to_right")
]
_FillMode = Annotated[Literal["constant", "nearest", "wrap", "reflect"], rule("constant, nearest, wrap or reflect")]


class _RandomFlip(Table):
    mode: Annotated[
        Literal["horizontal", "vertical", "horizontal_and_vertical"],
        rule("horizontal, vertical or horizontal_and_vertical"),
    ] = "horizontal_and_vertical"


class _RandomRotation(Table):
    factor: Factor
    fill_mode: _FillMode = "reflect"


class _RandomTranslation(Table):
    height_factor: Factor
    width_factor: Factor
    fill_mode: _FillMode = "reflect"


class _RandomZoom(Table):
    height_factor: Factor
    width_factor: Annotated[Factor | None, Field(description="a fraction, or null")] = None
    fill_mode: _FillMode = "reflect"


class _RandomContrast(Table):
    factor: Factor


class _RandomBrightness(Table):
    factor: Factor


SCHEMAS: Mapping[str, type[Table]] = MappingProxyType(
    {
        "keras.layers.RandomFlip": _RandomFlip,
        "keras.layers.RandomRotation": _RandomRotation,
        "keras.layers.RandomTranslation": _RandomTranslation,
        "keras.layers.RandomZoom": _RandomZoom,
        "keras.layers.RandomContrast": _RandomContrast,
        "keras.layers.RandomBrightness": _RandomBrightness,
    }
)
"""`_target_` -> its options; `_target_` itself is not among them."""
