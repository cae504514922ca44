"""`tfscale export`: writes a trained model in a format that other programs load."""

import argparse

from tfscale import user_paths
from tfscale.commands.named_run import named_run
from tfscale.config import saved
from tfscale.config.evaluation import UNUSED_BY_MODEL
from tfscale.config.exports import ENDINGS, format_of
from tfscale.config.find_run import checkpoint_of
from tfscale.runs.run_directory import RunDirectory
from tfscale.startup_noise import hidden_startup_noise


def main(flags: argparse.Namespace) -> int:
    """Exports a checkpoint of a run.

    Raises:
        UserError: There is no such run, or a value is wrong.
    """
    run = named_run("export", flags.words, ("checkpoint", "format", "to"))
    kind = format_of(run.given.get("format", "keras"))
    which = checkpoint_of(run.given.get("checkpoint", "newest"))
    path = user_paths.expanded(run.given.get("to", f"{run.folder.name}{ENDINGS[kind][0]}"))
    config = saved.read(run.folder, run.overrides, unused=UNUSED_BY_MODEL)
    with hidden_startup_noise():
        from tfscale.job.export import export_run
    return export_run(config, RunDirectory(run.folder, only_read=True), which, kind, path)
