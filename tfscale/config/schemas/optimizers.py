"""Options of optimizers; what they do is Keras's documentation."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from tfscale.config.schemas.fields import (
    Beta,
    Bool,
    OptionalNotNegative,
    OptionalPositive,
    Positive,
    Table,
    Whole,
    rule,
)


class _Optimizer(Table):
    partial: Annotated[Literal[True], Field(alias="_partial_"), rule("true")]
    learning_rate: Positive
    weight_decay: OptionalNotNegative = None
    clipnorm: OptionalPositive = None
    global_clipnorm: OptionalPositive = None
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
    weight_decay: Annotated[float, rule("a number >= 0", ge=0)] = 0.004  # pyright: ignore[reportIncompatibleVariableOverride]


# Option files of users' own name these with less than all keys: they then have Keras's defaults.


class _RmsProp(_Optimizer):
    rho: Beta = 0.9
    momentum: Beta = 0.0
    epsilon: Positive = 1e-7
    centered: Bool = False


class _Lion(_Optimizer):
    beta_1: Beta = 0.9
    beta_2: Beta = 0.99


class _Adafactor(_Optimizer):
    beta_2_decay: Annotated[float, rule("a number < 0", lt=0)] = -0.8
    epsilon_1: Positive = 1e-30
    epsilon_2: Positive = 0.001
    clip_threshold: Positive = 1.0
    relative_step: Bool = True


class _Muon(_Optimizer):
    momentum: Beta = 0.95
    nesterov: Bool = True
    ns_steps: Whole = 5
    rms_rate: OptionalPositive = 0.2
    exclude_layers: Annotated[list[str], rule("a list of regular expressions for paths of variables")] = Field(
        default_factory=list
    )
    exclude_embeddings: Bool = True
    adam_beta_1: Beta = 0.9
    adam_beta_2: Beta = 0.999
    adam_weight_decay: OptionalNotNegative = 0.004
    adam_lr_ratio: Positive = 1.0
    epsilon: Positive = 1e-7
    weight_decay: OptionalNotNegative = 0.004


SCHEMAS: Mapping[str, type[Table]] = MappingProxyType(
    {
        "keras.optimizers.SGD": _Sgd,
        "keras.optimizers.Adam": _Adam,
        "keras.optimizers.AdamW": _AdamW,
        "keras.optimizers.RMSprop": _RmsProp,
        "keras.optimizers.Lion": _Lion,
        "keras.optimizers.Adafactor": _Adafactor,
        "keras.optimizers.Muon": _Muon,
    }
)
"""`_target_` -> its options; `_target_` itself is not among them."""
