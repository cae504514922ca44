"""The typed configuration: which keys there are, and what each may be.

This is the one place that says so. It must speak before TensorFlow is imported, so it cannot live in the constructors
that get the values; a test holds each `_target_`'s parameters against its table here. Defaults are not repeated: they
live in conf/.
"""

from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field

from tfscale.config.fields import (
    MOST,
    Auto,
    AutoShape,
    AutoSteps,
    AutoWhole,
    Beta,
    Bool,
    Density,
    Fraction,
    Name,
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


class Train(Table):
    """conf/train."""

    epochs: Annotated[Annotated[float, Field(gt=0)] | None, rule("a number of epochs > 0, or null")]
    steps: OptionalSteps
    batch: Whole
    prefetch: Whole
    log_every: Steps
    evaluate_every: OptionalSteps
    checkpoint_every: OptionalSteps
    max_time: Annotated[Annotated[float, Field(gt=0)] | None, rule("a number of seconds > 0, or null")]
    keep_checkpoints: Whole


class Run(Table):
    """conf/run."""

    dir: Annotated[str, rule("a folder", min_length=1)]
    name: Name
    tensorboard: Bool


class Launch(Table):
    """conf/launch."""

    np: AutoWhole
    threads: Annotated[Annotated[int, Field(ge=0, le=MOST)] | Auto, rule("a whole number from 0 to 1e9, or auto")]
    hosts: Annotated[
        list[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+(:[1-9][0-9]*)?$")]] | None,
        rule("a list of hosts with their numbers of processes, [host1:2,host2:2], or null"),
    ]
    network_interface: Annotated[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9._:@-]+$")] | None,
        rule("the name of a network interface, or null"),
    ]
    start_timeout: Annotated[int, rule("a whole number of seconds from 1 to 1e9", ge=1, le=MOST)]
    hang_timeout: Annotated[Annotated[float, Field(gt=0)] | None, rule("a number of seconds > 0, or null")]
    max_restarts: NotNegative
    min_np: Whole


class Config(Table):
    """The whole configuration. Nodes with a `_target_` stay plain; `NODES` has their tables."""

    seed: Annotated[int, rule("a whole number >= 0 and < 2^31", ge=0, lt=2**31)]
    resume: Bool
    trust: Annotated[list[str], rule("a list of module names, [mymodule]")]
    model: dict[str, Any]
    data: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    strategy: dict[str, Any]
    loss: dict[str, Any]
    metrics: Annotated[dict[str, dict[str, Any]], rule("names with a _target_ each, at least one", min_length=1)]
    train: Train
    run: Run
    launch: Launch


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


class _Empty(Table):
    pass


NODES: MappingProxyType[str, type[Table]] = MappingProxyType(
    {
        "tfscale.models.mlp.mlp": _Mlp,
        "tfscale.models.lenet.lenet": _Lenet,
        "tfscale.models.cnn.cnn": _Cnn,
        "tfscale.models.gru.gru": _Gru,
        "tfscale.models.transformer.transformer": _Transformer,
        "tfscale.data.digits.digits": _Digits,
        "tfscale.data.idx.idx": _Idx,
        "tfscale.data.shakespeare.shakespeare": _Shakespeare,
        "tfscale.data.npz.npz": _Npz,
        "tfscale.data.synthetic.synthetic": _Synthetic,
        "keras.optimizers.SGD": _Sgd,
        "keras.optimizers.Adam": _Adam,
        "keras.optimizers.AdamW": _AdamW,
        "tfscale.schedules.constant": _Empty,
        "tfscale.schedules.cosine": _Cosine,
        "tfscale.schedules.exponential": _Exponential,
        "tfscale.schedules.piecewise": _Piecewise,
        "tfscale.strategies.gradient_averaging.GradientAveraging": _GradientAveraging,
        "tfscale.strategies.parameter_averaging.ParameterAveraging": _ParameterAveraging,
        "tfscale.strategies.gradient_sharing.GradientSharing": _GradientSharing,
        "tfscale.collectives.in_process.InProcess": _Empty,
        "tfscale.collectives.horovod.Horovod": _Empty,
        "auto": _Empty,
        "tfscale.codecs.word32.Word32": _Empty,
        "tfscale.codecs.bitmap.Bitmap": _Empty,
        "tfscale.codecs.rice.Rice": _Empty,
        "tfscale.codecs.smallest.Smallest": _Empty,
        "tfscale.thresholds.Fixed": _Fixed,
        "tfscale.thresholds.Adaptive": _Adaptive,
        "tfscale.thresholds.TargetDensity": _TargetDensity,
    }
)
"""The table of each `_target_` that conf/ ships; `_target_` itself is not in it."""
