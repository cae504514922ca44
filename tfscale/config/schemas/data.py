"""Options of the shipped data sources."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from tfscale.config.schemas.fields import Fraction, NotNegative, OptionalText, Table, Whole, Widths, rule


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


class _Synthetic(Table):
    examples: Whole
    test_examples: Whole
    shape: Widths
    classes: Annotated[int, rule("a whole number >= 2", ge=2)]
    noise: Annotated[float, rule("a number >= 0", ge=0)]
    seed: NotNegative


SCHEMAS: Mapping[str, type[Table]] = MappingProxyType(
    {
        "tfscale.data.sources.digits.digits": _Digits,
        "tfscale.data.sources.idx.idx": _Idx,
        "tfscale.data.sources.shakespeare.shakespeare": _Shakespeare,
        "tfscale.data.sources.npz.npz": _Npz,
        "tfscale.data.sources.synthetic.synthetic": _Synthetic,
    }
)
"""`_target_` -> its options; `_target_` itself is not among them."""
