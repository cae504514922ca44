"""The configuration of an earlier run with other data: what `evaluate` and `predict` read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfscale.config import checks, saved
from tfscale.config.overrides import Override, key_of
from tfscale.config.preflight import preflight
from tfscale.config.schemas.common import separated
from tfscale.config.schemas.config import Config
from tfscale.errors import UserError


def is_named(overrides: Sequence[Override]) -> bool:
    """Returns whether overrides name data."""
    return any(key_of(each).split(".")[0] == "data" for each in overrides)


def read(folder: Path, overrides: Sequence[Override], *, needs_labels: bool, **options: Any) -> Config:
    """Reads the configuration of an earlier run, with the data that overrides name.

    `data.file=PATH` changes a value of the run's source; `data=SOURCE data.file=PATH` names another source. What was
    learned from the training data stays the run's (see `job.later_data`).

    Args:
        folder: The run directory.
        overrides: Of the command.
        needs_labels: Whether data without the labels that the configuration names are refused.
        options: Of `saved.read`.

    Raises:
        UserError: There is no such run, or a value is wrong.
    """
    named = [key_of(each) for each in overrides]
    may_drop = not needs_labels and "data.label" not in named
    source = [each for each in overrides if key_of(each) == "data"]
    others = [each for each in overrides if key_of(each).startswith("data.")]
    if not source:
        config = saved.read(folder, overrides, **options)
        return _checked(config, may_drop=may_drop) if others else config
    rest = [each for each in overrides if each not in source and each not in others]
    config = saved.read(folder, rest, **options)
    trust = [f"trust=[{','.join(config.trust)}]"] if config.trust else []
    words = [*(str(each.input_line) for each in (*source, *others)), *trust]
    composed = preflight(words, config_dir=None)
    if composed.data["_target_"] == config.data["_target_"]:  # the run's source: its options hold where none is typed
        return _checked(saved.read(folder, [*rest, *others], **options), may_drop=may_drop)
    own, _ = separated("data", composed.data)
    _, common = separated("data", config.data)
    return _checked(config.model_copy(update={"data": {**own, **common}}), may_drop=may_drop)


def _checked(config: Config, *, may_drop: bool) -> Config:
    """Returns the configuration; without the label if it may be dropped: predictions need none.

    Raises:
        UserError: The source refuses its options.
    """
    if may_drop and "label" in config.data:
        config = config.model_copy(update={"data": {**config.data, "label": None}})
    problems = checks.problems_of_data(config)
    if problems:
        raise UserError(*problems)
    return config
