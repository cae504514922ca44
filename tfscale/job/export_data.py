"""Exports the data of a configuration: the part of `tfscale data export` that needs TensorFlow."""

from collections.abc import Callable
from pathlib import Path

from tfscale.config.schemas.config import Config
from tfscale.config.targets import trust
from tfscale.data.export import export
from tfscale.data.manifest import Manifest
from tfscale.job.build_data import build_source


def export_data(config: Config, folder: Path, *, shard_examples: int | None, report: Callable[[str], None]) -> Manifest:
    """Writes the source of a configuration, with its splits and fitted normalizers, to TFRecord shards.

    Args:
        config: Valid key by key.
        folder: For the shards.
        shard_examples: Examples of each shard; None for shards of about 128 MiB.
        report: Called with a line for each warning and shard.

    Raises:
        UserError: The data cannot be exported, or the folder holds something else.
    """
    trust(config.trust)
    source = build_source(config)
    for warning in source.warnings:
        report(f"warning: {warning}")
    return export(source, folder, shard_examples=shard_examples, report=report)
