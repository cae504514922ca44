"""Options of the shipped models."""

from collections.abc import Mapping
from types import MappingProxyType

from tfscale.config.schemas.fields import AutoShape, AutoWhole, Beta, Table, Whole, Widths


class _Mlp(Table):
    input_shape: AutoShape
    classes: AutoWhole
    hidden: Widths
    dropout: Beta


class _Lenet(Table):
    input_shape: AutoShape
    classes: AutoWhole


class _Cnn(Table):
    input_shape: AutoShape
    classes: AutoWhole
    filters: Widths
    dropout: Beta


class _Gru(Table):
    input_shape: AutoShape
    classes: AutoWhole
    vocabulary: AutoWhole
    width: Whole
    units: Whole


class _Transformer(Table):
    input_shape: AutoShape
    classes: AutoWhole
    vocabulary: AutoWhole
    width: Whole
    heads: Whole
    blocks: Whole


SCHEMAS: Mapping[str, type[Table]] = MappingProxyType(
    {
        "tfscale.models.mlp.mlp": _Mlp,
        "tfscale.models.lenet.lenet": _Lenet,
        "tfscale.models.cnn.cnn": _Cnn,
        "tfscale.models.gru.gru": _Gru,
        "tfscale.models.transformer.transformer": _Transformer,
    }
)
"""`_target_` -> its options; `_target_` itself is not among them."""
