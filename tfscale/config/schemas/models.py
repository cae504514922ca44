"""Options of the shipped models, and of what is done with every model once it is built."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field

from tfscale.config.schemas.fields import MOST, Auto, AutoShape, AutoWhole, Beta, Table, Text, Whole, Widths, rule

Sequence = Annotated[bool | Auto, rule("true, false or auto")]


class Transfer(Table):
    """conf/transfer: keys of `model` that every model has; they are not arguments of the model's function."""

    init_from: Annotated[
        Annotated[str, Field(pattern=r"^(run:.+|.+\.(safetensors|npz|keras|weights\.h5))$")] | None,
        rule("run:NAME, run:NAME@best, a .safetensors, .npz, .keras or .weights.h5 file, or null"),
    ]
    freeze: Annotated[
        list[Annotated[str, Field(min_length=1)]], rule("a list of names of layers or variables, such as [base]")
    ]


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


class _Siamese(Table):
    input_shape: AutoShape
    hidden: Widths
    outputs: AutoWhole
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


class _Application(Table):
    name: Text
    weights: Annotated[Literal["imagenet"] | None, rule("imagenet, or null")]
    input_shape: AutoShape
    outputs: AutoWhole
    activation: Text
    resize: Annotated[
        Annotated[list[Annotated[int, Field(ge=1, le=MOST)]], Field(min_length=2, max_length=2)] | None,
        rule("[height, width] in pixels, or null"),
    ]
    pooling: Annotated[Literal["avg", "max"], rule("avg or max")]
    dropout: Beta
    options: Annotated[dict[str, Any], rule("names of arguments with a value each")]


SCHEMAS: Mapping[str, type[Table]] = MappingProxyType(
    {
        "tfscale.models.mlp.mlp": _Mlp,
        "tfscale.models.lenet.lenet": _Lenet,
        "tfscale.models.siamese.siamese": _Siamese,
        "tfscale.models.autoencoder.autoencoder": _Autoencoder,
        "tfscale.models.cnn.cnn": _Cnn,
        "tfscale.models.application.application": _Application,
        "tfscale.models.gru.gru": _Gru,
        "tfscale.models.transformer.transformer": _Transformer,
    }
)
"""`_target_` -> its options; `_target_` itself is not among them."""
