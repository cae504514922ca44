"""`tfscale data`: fetches data sets, and exports the examples of any source to TFRecord shards."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfscale.commands import arguments
from tfscale.config.suggest import closest
from tfscale.data.download import catalog, fetch
from tfscale.errors import UserError
from tfscale.startup_noise import hidden_startup_noise

if TYPE_CHECKING:
    from tfscale.config.schemas.data import Pipeline

FORMATS = ("tfrecord",)
EXPORT_KEYS = ("to", "data.format", "data.shard_examples")
"""Keys of `export`; all others are those of the configuration."""


def main(flags: argparse.Namespace) -> int:
    """Fetches or exports; without arguments, prints the help.

    Raises:
        UserError: There is no such action or data set, or the configuration is wrong.
    """
    if flags.action is None:
        arguments.PARSERS["data"]().print_help()
        return 0
    if flags.action == "export":
        return _export(flags.words, flags.config_dir)
    if flags.action != "fetch" or len(flags.words) != 1:
        words = " ".join((flags.action, *flags.words))
        raise UserError(f"tfscale data {words} is not a command; type: tfscale data fetch NAME")
    return _fetch(flags.words[0])


def _fetch(name: str) -> int:
    if name not in catalog.SUMS:
        near = closest(name, catalog.SUMS)
        hint = f"did you mean {near}?" if near else f"there are {', '.join(catalog.SUMS)}"
        raise UserError(f"{name} is not a data set that can be fetched; {hint}")
    if fetch.present(name):
        print(f"{name} is already in {catalog.home(name)}, sha256 sums verified")
        return 0
    with hidden_startup_noise():
        folder = fetch.fetch(name, report=print)
    print(f"{name} is in {folder}")
    return 0


def _export(words: Sequence[str], config_dir: str | None) -> int:
    """Checks the configuration of the data, then writes their shards."""
    from tfscale import user_paths  # Hydra takes a moment, which `fetch` does not need
    from tfscale.config import checks, preflight
    from tfscale.config.overrides import parse, separate, shell_word
    from tfscale.config.schemas.common import pipeline_of
    from tfscale.world import from_environment

    own, rest = separate(parse(words), EXPORT_KEYS)
    problems = []
    if "to" not in own:
        problems.append("export must have a folder for the shards; type to=DIR")
    if own.get("data.format", FORMATS[0]) not in FORMATS:
        problems.append(f"data.format must be {' or '.join(FORMATS)}, got {own['data.format']}; leave it out")
    size = own.get("data.shard_examples", "null")
    if size != "null" and not (size.isascii() and size.isdecimal() and 1 <= int(size) <= 10**9):
        problems.append(f"data.shard_examples must be a whole number from 1 to 1e9, or null, got {size}")
    if from_environment() is not None:
        problems.append("export writes with one process; type it without horovodrun, mpirun or srun")
    if problems:
        raise UserError(*problems)
    config = preflight.preflight([str(each.input_line) for each in rest], config_dir=config_dir)
    if problems := [*_for_training(pipeline_of(config.data)), *checks.problems_of_data(config)]:
        raise UserError(*problems)
    folder = user_paths.expanded(own["to"])
    with hidden_startup_noise():
        from tfscale.job.export_data import export_data
    manifest = export_data(config, folder, shard_examples=None if size == "null" else int(size), report=print)
    counts = ", ".join(f"{sum(each.examples for each in files):,} {name}" for name, files in manifest.splits.items())
    skipped = f" ({manifest.skipped:,} skipped)" if manifest.skipped else ""
    word = shell_word("data.files", own["to"])
    print(f"{counts} examples{skipped} are in {folder}; type: tfscale train data=tfrecord {word}")
    return 0


def _for_training(pipeline: "Pipeline") -> list[str]:
    """Returns a message for each key that has no effect on an export."""
    unused = {"data.augment": pipeline.augment, "data.class_weight": pipeline.class_weight}
    return [
        f"{key} is for training and is not exported; leave it out here, and type it there"
        for key, value in unused.items()
        if value
    ]
