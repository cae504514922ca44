"""Options of learning-rate schedules and of early stopping."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from tfscale.config.schemas.fields import (
    MOST,
    AutoSteps,
    Bool,
    Fraction,
    NotNegative,
    OptionalText,
    Positive,
    Table,
    Whole,
    Widths,
    rule,
)


class _Cosine(Table):
    decay_steps: AutoSteps
    alpha: Annotated[float, rule("a fraction >= 0 and <= 1", ge=0, le=1)]
    warmup_steps: NotNegative


class _Constant(Table):
    warmup_steps: NotNegative


class _Exponential(Table):
    decay_steps: AutoSteps
    decay_rate: Positive
    staircase: Bool
    warmup_steps: NotNegative


class _Piecewise(Table):
    boundaries: Widths
    factors: Annotated[list[Annotated[float, Field(gt=0)]], rule("a list of numbers > 0")]
    warmup_steps: NotNegative


class _Plateau(Table):
    monitor: OptionalText
    mode: Annotated[Literal["auto", "min", "max"], rule("auto, min or max")]
    factor: Fraction
    patience: Whole
    min_delta: Annotated[float, rule("a number >= 0", ge=0)]
    cooldown: NotNegative
    min_learning_rate: Annotated[float, rule("a number >= 0", ge=0)]


class _EarlyStopping(Table):
    monitor: OptionalText
    mode: Annotated[Literal["auto", "min", "max"], rule("auto, min or max")]
    patience: Annotated[Annotated[int, Field(ge=1, le=MOST)] | None, rule("a whole number from 1 to 1e9, or null")]
    min_delta: Annotated[float, rule("a number >= 0", ge=0)]
    target: Annotated[float | None, rule("a number, or null")]
    max_loss: Annotated[float | None, rule("a number, or null")]
    keep_best: Bool


SCHEMAS: Mapping[str, type[Table]] = MappingProxyType(
    {
        "tfscale.training.early_stopping.EarlyStopping": _EarlyStopping,
        "tfscale.training.schedules.constant": _Constant,
        "tfscale.training.schedules.cosine": _Cosine,
        "tfscale.training.schedules.exponential": _Exponential,
        "tfscale.training.schedules.piecewise": _Piecewise,
        "tfscale.training.plateau.Plateau": _Plateau,
    }
)
"""`_target_` -> its options; `_target_` itself is not among them."""
