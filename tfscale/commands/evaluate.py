"""`tfscale evaluate`: measures a trained run on its test data, in this process or in several."""

import argparse

from tfscale.commands import launching
from tfscale.commands.named_run import named_run
from tfscale.config import other_data
from tfscale.config.evaluation import UNUSED, separate_options
from tfscale.runs.run_directory import RunDirectory
from tfscale.startup_noise import hidden_startup_noise
from tfscale.world import World, from_environment

LOGS = "logs-evaluation"
"""Folder in the run directory for the processes' output: the run may be in training, with failures of its own."""


def main(flags: argparse.Namespace) -> int:
    """Evaluates a checkpoint, prints the result and writes evaluation.json.

    Raises:
        UserError: There is no such run, or a value is wrong.
    """
    run = named_run("evaluate", flags.words, ("launch.np",))
    options, rest = separate_options(run.overrides)
    world, processes = launching.processes_here(run.given.get("launch.np"), by_horovod=True)
    folder = run.folder
    config = other_data.read(folder, rest, needs_labels=True, unused=UNUSED, addable=("metrics",))

    def load() -> launching.Rank:
        from tfscale.job.evaluate import evaluate_run

        return lambda: evaluate_run(config, from_environment() or World(), RunDirectory(folder, logs=LOGS), options)

    if world is None and processes > 1:
        words = ["evaluate", *(word for word in flags.words if not word.startswith("launch.np="))]
        directory = RunDirectory(folder, logs=LOGS)
        return launching.run_once(
            words, load, launch=config.launch, directory=directory, processes=processes, by_horovod=True
        )
    with hidden_startup_noise():
        rank = load()
    return rank()
