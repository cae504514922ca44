"""Exports the model of a run: by command, and at the end of a run that has trained it."""

import os
from collections.abc import Callable
from pathlib import Path

from tfscale.config.exports import ENDINGS, Format
from tfscale.config.find_run import Which
from tfscale.config.schemas.config import Config
from tfscale.errors import first_line
from tfscale.inference.export import discard, export, require, serving, write
from tfscale.inference.export_formats import WRITERS
from tfscale.job.trained import load
from tfscale.runs.run_directory import RunDirectory
from tfscale.tracking.tables import person_console


def export_run(config: Config, directory: RunDirectory, which: Which, kind: Format, path: Path) -> int:
    """Exports a checkpoint of a run, and says what was written and how it was verified."""
    require(kind, path)
    console = person_console()

    def warn(text: str) -> None:
        console.print(f"warning: {text}", highlight=False, markup=False)

    trained = load(config, directory, which, warn)
    difference = export(trained, kind, path)
    for line in (
        f"{path}: {kind}, run {trained.name} after step {trained.step:,}",
        f"loaded without tfscale: its outputs differ from the trained model's by at most {difference:.1e}",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return 0


def export_at_end(config: Config, directory: RunDirectory, warn: Callable[[str], None]) -> Path | None:
    """Writes the model of a run that has ended into its directory, unless `train.export` is null.

    The file is not loaded again, as that takes as long as a short run; `tfscale export` does.

    Returns:
        Its path; None if there is none. A failure is a warning.
    """
    kind = config.train.export
    if kind is None:
        return None
    path = directory.model.with_name(f"{directory.model.name}{ENDINGS[kind][0]}")
    partial = path.with_name(f".partial.{path.name}")
    try:
        discard(partial)
        trained = load(config, directory, "newest", warn)
        write(trained, kind, serving(trained, WRITERS[kind]), partial)
        discard(path) if path.is_dir() else None
        os.replace(partial, path)
    except Exception as error:  # noqa: BLE001 - the run has ended well, whatever becomes of the export
        for each in (partial, path):  # one of an earlier end would be of other weights
            discard(each)
        warn(f"the model was not written to {path.name} (train.export={kind}): {first_line(error)}")
        return None
    return path
