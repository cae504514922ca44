"""What each `_target_` that conf/ ships takes: a table of its keys.

A test holds every table against the parameters of what it stands for.
"""

from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field

from tfscale.config.schemas.fields import (
    MOST,
    Auto,
    AutoShape,
    AutoSteps,
    AutoWhole,
    Beta,
    Bool,
    Density,
    Fraction,
    NotNegative,
    OptionalNotNegative,
    OptionalPositive,
    OptionalSteps,
    OptionalText,
    Positive,
    Steps,
    Table,
    Whole,
    Widths,
    rule,
)


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


class _Cosine(Table):
    decay_steps: AutoSteps
    alpha: Annotated[float, rule("a fraction >= 0 and <= 1", ge=0, le=1)]
    warmup_steps: NotNegative


class _Exponential(Table):
    decay_steps: AutoSteps
    decay_rate: Positive
    staircase: Bool


class _Piecewise(Table):
    boundaries: Widths
    factors: Annotated[list[Annotated[float, Field(gt=0)]], rule("a list of numbers > 0")]


class _GradientAveraging(Table):
    replicas: AutoWhole
    collective: dict[str, Any]
    reproducible: Bool


class _ParameterAveraging(Table):
    replicas: AutoWhole
    collective: dict[str, Any]
    reproducible: Bool
    every: Steps
    average_optimizer: Bool
    report_after_averaging: Bool


class _GradientSharing(Table):
    replicas: AutoWhole
    collective: dict[str, Any]
    codec: dict[str, Any]
    threshold: dict[str, Any]
    shares: Annotated[Literal["auto", "gradients", "updates"], rule("auto, gradients or updates")]
    combine: Annotated[Literal["auto", "mean", "root", "sum"], rule("auto, mean, root or sum")]
    delay: Annotated[int, rule("0 or 1 step", ge=0, le=1)]
    per_tensor: Bool
    min_size: NotNegative
    momentum: Annotated[Annotated[float, Field(ge=0, lt=1)] | Auto, rule("a number >= 0 and < 1, or auto")]
    nesterov: Annotated[bool | Auto, rule("true, false or auto")]
    masking: Bool
    warmup: NotNegative
    flush_every: OptionalSteps
    clip_norm: OptionalPositive
    clip_residual: OptionalPositive
    clip_every: Steps
    auto: Bool
    kernel: Annotated[Literal["auto", "native", "plain"], rule("auto, native or plain")]


class _Horovod(Table):
    shared_memory: Annotated[bool | Auto, rule("true, false or auto")]


class _Fixed(Table):
    initial: Positive


class _Adaptive(Table):
    initial: OptionalPositive
    minimum: Density
    maximum: Density
    rate: Fraction


class _TargetDensity(Table):
    initial: OptionalPositive
    density: Annotated[float, rule("a fraction > 0 and < 1/16", gt=0, lt=1 / 16)]
    ramp: NotNegative
    gain: Annotated[float, rule("a number > 0 and <= 100", gt=0, le=100)]


class _EarlyStopping(Table):
    monitor: OptionalText
    mode: Annotated[Literal["auto", "min", "max"], rule("auto, min or max")]
    patience: Annotated[Annotated[int, Field(ge=1, le=MOST)] | None, rule("a whole number from 1 to 1e9, or null")]
    min_delta: Annotated[float, rule("a number >= 0", ge=0)]
    target: Annotated[float | None, rule("a number, or null")]
    max_loss: Annotated[float | None, rule("a number, or null")]
    keep_best: Bool


class _Empty(Table):
    pass


TARGET_SCHEMAS: MappingProxyType[str, type[Table]] = MappingProxyType(
    {
        "tfscale.models.mlp.mlp": _Mlp,
        "tfscale.models.lenet.lenet": _Lenet,
        "tfscale.models.cnn.cnn": _Cnn,
        "tfscale.models.gru.gru": _Gru,
        "tfscale.models.transformer.transformer": _Transformer,
        "tfscale.data.sources.digits.digits": _Digits,
        "tfscale.data.sources.idx.idx": _Idx,
        "tfscale.data.sources.shakespeare.shakespeare": _Shakespeare,
        "tfscale.data.sources.npz.npz": _Npz,
        "tfscale.data.sources.synthetic.synthetic": _Synthetic,
        "keras.optimizers.SGD": _Sgd,
        "keras.optimizers.Adam": _Adam,
        "keras.optimizers.AdamW": _AdamW,
        "tfscale.training.early_stopping.EarlyStopping": _EarlyStopping,
        "tfscale.training.schedules.constant": _Empty,
        "tfscale.training.schedules.cosine": _Cosine,
        "tfscale.training.schedules.exponential": _Exponential,
        "tfscale.training.schedules.piecewise": _Piecewise,
        "tfscale.strategies.gradient_averaging.GradientAveraging": _GradientAveraging,
        "tfscale.strategies.parameter_averaging.ParameterAveraging": _ParameterAveraging,
        "tfscale.strategies.gradient_sharing.strategy.GradientSharing": _GradientSharing,
        "tfscale.collectives.in_process.InProcess": _Empty,
        "tfscale.collectives.horovod.Horovod": _Horovod,
        "auto": _Empty,
        "tfscale.compression.codecs.word32.Word32": _Empty,
        "tfscale.compression.codecs.bitmap.Bitmap": _Empty,
        "tfscale.compression.codecs.rice.Rice": _Empty,
        "tfscale.compression.codecs.smallest.Smallest": _Empty,
        "tfscale.compression.thresholds.Fixed": _Fixed,
        "tfscale.compression.thresholds.Adaptive": _Adaptive,
        "tfscale.compression.thresholds.TargetDensity": _TargetDensity,
    }
)
"""The table of each `_target_` that conf/ ships; `_target_` itself is not in it."""
