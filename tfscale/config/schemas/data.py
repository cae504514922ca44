"""Options of the shipped data sources, and of the pipeline behind every source."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field

from tfscale.config.schemas.fields import (
    MOST,
    Bool,
    Fraction,
    NotNegative,
    OptionalFraction,
    OptionalText,
    Table,
    Text,
    Whole,
    Widths,
    rule,
)

PYTHON = "tfscale.data.sources.python.python"
"""The source whose `function` is code of the user's own."""

OptionalWhole = Annotated[Annotated[int, Field(ge=1, le=MOST)] | None, rule("a whole number from 1 to 1e9, or null")]
Inputs = Annotated[str | list[str] | None, rule("a key, a list of keys, or null")]
Size = Annotated[
    Annotated[list[Annotated[int, Field(ge=1, le=MOST)]], Field(min_length=2, max_length=2)] | None,
    rule("[height, width] in pixels, or null"),
]
OnError = Annotated[Literal["error", "skip"], rule("error or skip")]


class _Digits(Table):
    test_fraction: Fraction


class _Idx(Table):
    name: Annotated[Literal["mnist", "fashion_mnist"], rule("mnist or fashion_mnist")]
    folder: OptionalText


class _Shakespeare(Table):
    length: Whole
    stride: Whole
    test_fraction: Fraction
    folder: OptionalText


class _Npz(Table):
    file: OptionalText


class _Npy(Table):
    folder: OptionalText


class _Synthetic(Table):
    examples: Whole
    test_examples: Whole
    shape: Widths
    classes: Annotated[int, rule("a whole number >= 2", ge=2)]
    noise: Annotated[float, rule("a number >= 0", ge=0)]
    seed: NotNegative


class _Table(Table):
    file: OptionalText
    label: Annotated[str | list[str] | None, rule("a column, a list of columns, or null")]
    features: Annotated[list[str] | None, rule("a list of columns, or null")]
    categorical: Annotated[list[str], rule("a list of columns")]
    weight: OptionalText
    validation_file: OptionalText
    test_file: OptionalText
    on_error: OnError


class _Images(Table):
    folder: OptionalText
    table: OptionalText
    path: Text
    label: OptionalText
    validation_table: OptionalText
    test_table: OptionalText
    size: Size
    crop: Bool
    channels: Annotated[Literal[1, 3], rule("1 or 3")]
    on_error: OnError


class _Text(Table):
    folder: OptionalText
    file: OptionalText
    text: Text
    label: OptionalText
    validation_file: OptionalText
    test_file: OptionalText
    tokens: Annotated[Literal["words", "characters"], rule("words or characters")]
    vocabulary: Annotated[int, rule("a whole number of ids from 3 to 1e9", ge=3, le=MOST)]
    length: Whole
    on_error: OnError


class _Python(Table):
    function: OptionalText
    examples: OptionalWhole
    vocabulary: OptionalWhole
    arguments: Annotated[dict[str, Any], rule("keyword arguments")]


class _Keras(Table):
    name: Annotated[
        Literal["mnist", "fashion_mnist", "cifar10", "cifar100", "imdb", "reuters", "california_housing"],
        rule("mnist, fashion_mnist, cifar10, cifar100, imdb, reuters or california_housing"),
    ]
    length: Whole
    vocabulary: Annotated[int, rule("a whole number of ids from 5 to 1e9", ge=5, le=MOST)]


class _HuggingFace(Table):
    folder: OptionalText
    files: Annotated[
        str | list[str] | dict[str, str | list[str]] | None,
        rule("a path, a list of paths, names of splits with paths, or null"),
    ]
    builder: OptionalText
    inputs: Inputs
    label: OptionalText
    vocabulary: OptionalWhole


class _Tfds(Table):
    name: OptionalText
    folder: OptionalText
    inputs: Inputs
    label: OptionalText
    vocabulary: OptionalWhole


class _TFRecord(Table):
    files: OptionalText
    validation_files: OptionalText
    test_files: OptionalText
    label: OptionalText
    features: Annotated[list[str] | None, rule("a list of features, or null")]
    size: Size
    on_error: OnError


class Pipeline(Table):
    """conf/pipeline: keys of `data` that every source has; they are not arguments of the source."""

    validation: OptionalFraction
    test: OptionalFraction
    stratify: Bool
    split_seed: NotNegative
    missing: Annotated[Literal["error", "mean", "keep"], rule("error, mean or keep")]
    normalize: Annotated[Literal["auto", "none", "standardize", "min_max"], rule("auto, none, standardize or min_max")]
    class_weight: Annotated[
        Literal["balanced"] | dict[str | int, Annotated[float, Field(ge=0)]] | None,
        rule("balanced, names of classes with a weight >= 0 each, or null"),
    ]
    augment: Annotated[list[dict[str, Any]], rule("a list of layers with a _target_ each")]


SCHEMAS: Mapping[str, type[Table]] = MappingProxyType(
    {
        "tfscale.data.sources.digits.digits": _Digits,
        "tfscale.data.sources.idx.idx": _Idx,
        "tfscale.data.sources.shakespeare.shakespeare": _Shakespeare,
        "tfscale.data.sources.npz.npz": _Npz,
        "tfscale.data.sources.npy.npy": _Npy,
        "tfscale.data.sources.table.table": _Table,
        "tfscale.data.sources.images.images": _Images,
        "tfscale.data.sources.text.text": _Text,
        PYTHON: _Python,
        "tfscale.data.sources.keras_datasets.keras_datasets": _Keras,
        "tfscale.data.sources.huggingface.huggingface": _HuggingFace,
        "tfscale.data.sources.tfds.tfds": _Tfds,
        "tfscale.data.sources.tfrecord.tfrecord": _TFRecord,
        "tfscale.data.sources.synthetic.synthetic": _Synthetic,
    }
)
"""`_target_` -> its options; `_target_` itself is not among them."""
