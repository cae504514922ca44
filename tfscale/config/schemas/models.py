"""Options of the shipped models."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from tfscale.config.schemas.fields import Auto, AutoShape, AutoWhole, Beta, Table, Text, Whole, Widths, rule

Sequence = Annotated[bool | Auto, rule("true, false or auto")]


class _Mlp(Table):
    input_shape: AutoShape
    outputs: AutoWhole
    activation: Text
    hidden: Widths
    dropout: Beta


class _Autoencoder(Table):
    input_shape: AutoShape
    hidden: Widths
    activation: Text


class _Lenet(Table):
    input_shape: AutoShape
    outputs: AutoWhole
    activation: Text


class _Cnn(Table):
    input_shape: AutoShape
    outputs: AutoWhole
    activation: Text
    filters: Widths
    dropout: Beta


class _Gru(Table):
    input_shape: AutoShape
    outputs: AutoWhole
    activation: Text
    vocabulary: AutoWhole
    width: Whole
    units: Whole
    sequence: Sequence = False


class _Transformer(Table):
    input_shape: AutoShape
    outputs: AutoWhole
    activation: Text
    vocabulary: AutoWhole
    width: Whole
    heads: Whole
    blocks: Whole
    sequence: Sequence = False


SCHEMAS: Mapping[str, type[Table]] = MappingProxyType(
    {
        "tfscale.models.mlp.mlp": _Mlp,
        "tfscale.models.lenet.lenet": _Lenet,
        "tfscale.models.autoencoder.autoencoder": _Autoencoder,
        "tfscale.models.cnn.cnn": _Cnn,
        "tfscale.models.gru.gru": _Gru,
        "tfscale.models.transformer.transformer": _Transformer,
    }
)
"""`_target_` -> its options; `_target_` itself is not among them."""
