"""Options of the shipped losses and metrics; what they do is Keras's documentation."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from tfscale.config.schemas.fields import Bool, OptionalText, Table, Whole, rule


class _SparseCategoricalCrossentropy(Table):
    from_logits: Bool = False
    ignore_class: Annotated[int | None, rule("a class number, or null")] = None


class _Metric(Table):
    name: OptionalText = None


class _TopK(_Metric):
    k: Whole = 5


SCHEMAS: Mapping[str, type[Table]] = MappingProxyType(
    {
        "keras.losses.SparseCategoricalCrossentropy": _SparseCategoricalCrossentropy,
        "keras.metrics.SparseCategoricalAccuracy": _Metric,
        "keras.metrics.SparseTopKCategoricalAccuracy": _TopK,
    }
)
"""`_target_` -> its options; `_target_` itself is not among them."""
