"""Options of `tfscale predict`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tfscale import user_paths
from tfscale.config.find_run import Which, checkpoint_of
from tfscale.data.base import Split
from tfscale.errors import UserError

FORMATS = ("parquet", "csv", "jsonl", "npz")
SPLITS = {split.value: split for split in Split}
KEYS = ("to", "predict.keys", "predict.scores", "predict.loss", "predict.format", "predict.split")
"""The command's own keys, beside those of each command on a run."""


@dataclass(frozen=True, kw_only=True)
class PredictionOptions:
    """Options of `tfscale predict`.

    Attributes:
        to: Folder of the files.
        checkpoint: Of the run.
        keys: Column of the data whose values name the examples; None for their numbers.
        scores: Whether the outputs are written, too: a probability for each class.
        loss: Whether the loss of each example is written.
        format: Of the files.
        split: Of the data; None for the usual one (see `job.later_data`).
        names_data: Whether data were named on the command line.
    """

    to: Path
    checkpoint: Which = "newest"
    keys: str | None = None
    scores: bool = False
    loss: bool = False
    format: str = "parquet"
    split: Split | None = None
    names_data: bool = False


def options_of(given: Mapping[str, str], *, names_data: bool) -> PredictionOptions:
    """Returns the options that were typed.

    Args:
        given: Key -> value.
        names_data: Whether data were named.

    Raises:
        UserError: One is missing or out of range.
    """
    if "to" not in given:
        raise UserError("predict must have a folder for its files; type to=DIR")
    kind = given.get("predict.format", "parquet")
    if kind not in FORMATS:
        raise UserError(f"predict.format must be one of {', '.join(FORMATS)}, got {kind}; choose one of them")
    split = given.get("predict.split", "null")
    if split not in (*SPLITS, "null"):
        raise UserError(f"predict.split must be one of {', '.join(SPLITS)}, got {split}; or leave it out")
    keys = given.get("predict.keys", "null")
    return PredictionOptions(
        to=user_paths.expanded(given["to"]),
        checkpoint=checkpoint_of(given.get("checkpoint", "newest")),
        keys=None if keys == "null" else keys,
        scores=_flag(given, "predict.scores"),
        loss=_flag(given, "predict.loss"),
        format=kind,
        split=SPLITS.get(split),
        names_data=names_data,
    )


def _flag(given: Mapping[str, str], key: str) -> bool:
    value = given.get(key, "false").lower()
    if value not in ("true", "false"):
        raise UserError(f"{key} must be true or false, got {given[key]}")
    return value == "true"
