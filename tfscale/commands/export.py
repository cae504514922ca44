"""`tfscale export`: writes a trained model in a format that other programs load."""

import argparse

from tfscale import user_paths
from tfscale.commands.named_run import checkpoint_of, named_run
from tfscale.config import saved
from tfscale.config.evaluation import UNUSED_BY_MODEL
from tfscale.errors import UserError
from tfscale.runs.run_directory import RunDirectory
from tfscale.startup_noise import hidden_startup_noise

FORMATS = ("keras", "saved_model", "weights", "onnx", "tflite")
"""The formats; `job.export_formats` writes them."""

ENDINGS = {"keras": ".keras", "saved_model": "", "weights": ".safetensors", "onnx": ".onnx", "tflite": ".tflite"}
"""Format -> ending of the file's name where none is given."""


def main(flags: argparse.Namespace) -> int:
    """Exports a checkpoint of a run.

    Raises:
        UserError: There is no such run, or a value is wrong.
    """
    run = named_run("export", flags.words, ("checkpoint", "format", "to"))
    kind = run.given.get("format", "keras")
    if kind not in FORMATS:
        raise UserError(f"format must be one of {', '.join(FORMATS)}, got {kind}; choose one of them")
    which = checkpoint_of(run.given)
    path = user_paths.expanded(run.given.get("to", f"{run.folder.name}{ENDINGS[kind]}"))
    config = saved.read(run.folder, run.overrides, unused=UNUSED_BY_MODEL)
    with hidden_startup_noise():
        from tfscale.job.export import export_run
    return export_run(config, RunDirectory(run.folder, only_read=True), which, kind, path)
