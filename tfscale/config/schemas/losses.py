"""Options of the shipped losses and metrics; what they do is Keras's documentation."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from tfscale.config.schemas.fields import Beta, Bool, NoOptions, OptionalText, Positive, Table, Whole, rule


class _SparseCategoricalCrossentropy(Table):
    from_logits: Bool = False
    ignore_class: Annotated[int | None, rule("a class number, or null")] = None


class _BinaryCrossentropy(Table):
    from_logits: Bool = False
    label_smoothing: Beta = 0.0


class _Huber(Table):
    delta: Positive = 1.0


class _Metric(Table):
    name: OptionalText = None


class _TopK(_Metric):
    k: Whole = 5


SCHEMAS: Mapping[str, type[Table]] = MappingProxyType(
    {
        "keras.losses.SparseCategoricalCrossentropy": _SparseCategoricalCrossentropy,
        "keras.losses.BinaryCrossentropy": _BinaryCrossentropy,
        "keras.losses.MeanSquaredError": NoOptions,
        "keras.losses.MeanAbsoluteError": NoOptions,
        "keras.losses.Huber": _Huber,
        "keras.metrics.SparseCategoricalAccuracy": _Metric,
        "keras.metrics.SparseTopKCategoricalAccuracy": _TopK,
    }
)
"""`_target_` -> its options; `_target_` itself is not among them."""
