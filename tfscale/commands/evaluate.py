"""`tfscale evaluate`: measures a trained run on its test data."""

import argparse

from tfscale import user_paths
from tfscale.config import find_run, saved
from tfscale.config.overrides import parse, separate
from tfscale.errors import UserError
from tfscale.startup_noise import hidden_startup_noise
from tfscale.world import World, from_environment


def main(flags: argparse.Namespace) -> int:
    """Evaluates a checkpoint, prints the result and writes evaluation.json.

    Raises:
        UserError: There is no such run, or a value is wrong.
    """
    names, values = find_run.names_and_values(flags.words)
    given, rest = separate(parse(values), ("run", "run.dir", "checkpoint"))
    names += [given["run"]] if "run" in given else []
    if not names:
        raise UserError("evaluate must have the name of a run; type: tfscale evaluate NAME")
    if len(names) > 1:
        raise UserError(f"evaluate must have one run, got {' and '.join(names)}; type: tfscale evaluate {names[0]}")
    which = given.get("checkpoint", "newest")
    if which not in ("newest", "best"):
        raise UserError(f"checkpoint must be newest or best, got {which}; leave it out for the newest")
    folder = find_run.find(names[0], user_paths.expanded(given.get("run.dir", "runs")))
    config = saved.read(folder, rest)
    world = from_environment() or World()
    with hidden_startup_noise():
        from tfscale.job.evaluate import evaluate_run
    return evaluate_run(config, world, folder, best=which == "best")
