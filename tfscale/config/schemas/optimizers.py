"""Options of optimizers; what they do is Keras's documentation."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from tfscale.config.schemas.fields import Beta, Bool, OptionalNotNegative, OptionalPositive, Positive, Table, rule


class _Optimizer(Table):
    partial: Annotated[Literal[True], Field(alias="_partial_"), rule("true")]
    learning_rate: Positive
    weight_decay: OptionalNotNegative
    clipnorm: OptionalPositive
    global_clipnorm: OptionalPositive
    # What else Keras's optimizers take; conf/ does not list these, `+optimizer.KEY=` adds them.
    clipvalue: OptionalPositive = None
    gradient_accumulation_steps: Annotated[
        Annotated[int, Field(ge=2)] | None, rule("a whole number of steps >= 2, or null")
    ] = None


class _Sgd(_Optimizer):
    momentum: Beta
    nesterov: Bool


class _Adam(_Optimizer):
    beta_1: Beta
    beta_2: Beta
    epsilon: Positive
    amsgrad: Bool = False


class _AdamW(_Adam):
    weight_decay: Annotated[float, rule("a number >= 0", ge=0)]  # pyright: ignore[reportIncompatibleVariableOverride]


SCHEMAS: Mapping[str, type[Table]] = MappingProxyType(
    {
        "keras.optimizers.SGD": _Sgd,
        "keras.optimizers.Adam": _Adam,
        "keras.optimizers.AdamW": _AdamW,
    }
)
"""`_target_` -> its options; `_target_` itself is not among them."""
