"""The typed configuration: its keys and the values that each may have.

Values are checked before TensorFlow is imported, so not in the constructors that get them. Nodes with a `_target_` have
their schemas in `by_target`. Defaults are in conf/ only.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from tfscale.config.schemas.fields import (
    MOST,
    Auto,
    AutoWhole,
    Bool,
    Name,
    NotNegative,
    OptionalSteps,
    Steps,
    Table,
    Whole,
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
    nonfinite: Annotated[Literal["skip", "rollback", "abort"], rule("skip, rollback or abort")]
    precision: Annotated[Literal["float32", "bfloat16", "float16"], rule("float32, bfloat16 or float16")]
    accumulate: Whole
    jit_compile: Bool
    export: Annotated[Literal["keras", "saved_model"] | None, rule("keras, saved_model or null")]
    ema: Annotated[Annotated[float, Field(ge=0, lt=1)] | None, rule("a number >= 0 and < 1, or null")]


class Run(Table):
    """conf/run."""

    dir: Annotated[str, rule("a folder", min_length=1)]
    name: Name
    strict: Bool


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
    """The whole configuration; nodes with a `_target_` stay plain values (see `by_target.TARGET_SCHEMAS`)."""

    seed: Annotated[int, rule("a whole number >= 0 and < 2^31", ge=0, lt=2**31)]
    resume: Bool
    trust: Annotated[list[str], rule("a list of module names, [mymodule], or of files of Keras")]
    model: dict[str, Any]
    data: dict[str, Any]
    task: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    strategy: dict[str, Any]
    loss: dict[str, Any]
    early_stopping: dict[str, Any]
    metrics: Annotated[dict[str, dict[str, Any]], rule("names with a _target_ each, at least one", min_length=1)]
    tracker: Annotated[dict[str, dict[str, Any]], rule("names with a _target_ each")]
    callbacks: Annotated[dict[str, dict[str, Any]], rule("names with a _target_ each")]
    train: Train
    run: Run
    launch: Launch
