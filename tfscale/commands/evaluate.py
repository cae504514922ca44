"""`tfscale evaluate`: measures a trained run on its test data, in this process or in several."""

import argparse

from tfscale import user_paths
from tfscale.commands import launching
from tfscale.config import find_run, saved
from tfscale.config.evaluation import UNUSED, separate_options
from tfscale.config.overrides import parse, separate
from tfscale.errors import UserError
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
    names, values = find_run.names_and_values(flags.words)
    given, rest = separate(parse(values), ("run", "run.dir", "launch.np"))
    names += [given["run"]] if "run" in given else []
    if not names:
        raise UserError("evaluate must have the name of a run; type: tfscale evaluate NAME")
    if len(names) > 1:
        raise UserError(f"evaluate must have one run, got {' and '.join(names)}; type: tfscale evaluate {names[0]}")
    options, rest = separate_options(rest)
    world, processes = launching.processes_here(given.get("launch.np"))
    folder = find_run.find(names[0], user_paths.expanded(given.get("run.dir", "runs")))
    config = saved.read(folder, rest, unused=UNUSED, addable=("metrics",))

    def load() -> launching.Rank:
        from tfscale.job.evaluate import evaluate_run

        return lambda: evaluate_run(config, from_environment() or World(), RunDirectory(folder, logs=LOGS), options)

    if world is None and processes > 1:
        words = ["evaluate", *(word for word in flags.words if not word.startswith("launch.np="))]
        directory = RunDirectory(folder, logs=LOGS)
        return launching.run_once(words, load, launch=config.launch, directory=directory, processes=processes)
    with hidden_startup_noise():
        rank = load()
    return rank()
