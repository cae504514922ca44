"""`tfscale predict`: predicts examples with a trained run, in this process or in several."""

import argparse

from tfscale.commands import launching
from tfscale.commands.named_run import named_run
from tfscale.config import other_data
from tfscale.config.evaluation import UNUSED_BY_MODEL
from tfscale.config.prediction import KEYS, options_of
from tfscale.runs.run_directory import RunDirectory
from tfscale.startup_noise import hidden_startup_noise
from tfscale.world import World, from_environment

LOGS = "logs-prediction"
"""Folder in the run directory for the processes' output: the run may be in training, with failures of its own."""


def main(flags: argparse.Namespace) -> int:
    """Predicts, and writes the predictions to files.

    Raises:
        UserError: There is no such run, or a value is wrong.
    """
    run = named_run("predict", flags.words, ("checkpoint", "launch.np", *KEYS))
    options = options_of(run.given, names_data=other_data.is_named(run.overrides))
    world, processes = launching.processes_here(run.given.get("launch.np"), by_horovod=False)
    config = other_data.read(run.folder, run.overrides, needs_labels=options.loss, unused=UNUSED_BY_MODEL)
    directory = RunDirectory(run.folder, logs=LOGS)

    def load() -> launching.Rank:
        from tfscale.job.predict import predict_run

        return lambda: predict_run(config, from_environment() or World(), directory, options)

    if world is None and processes > 1:
        words = ["predict", *(word for word in flags.words if not word.startswith("launch.np="))]
        return launching.run_once(
            words, load, launch=config.launch, directory=directory, processes=processes, by_horovod=False
        )
    with hidden_startup_noise():
        rank = load()
    return rank()
