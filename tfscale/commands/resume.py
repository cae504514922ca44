"""`tfscale resume`: continues a run that ended early from its newest intact checkpoint."""

import argparse

from tfscale import user_paths
from tfscale.commands import train
from tfscale.config import find_run
from tfscale.config.overrides import parse, quoted, separate
from tfscale.errors import UserError


def main(flags: argparse.Namespace) -> int:
    """Finds the run and trains it with `resume=true`.

    Raises:
        UserError: There is no such run, or a value is wrong.
    """
    names, values = find_run.names_and_values(flags.words)
    if len(names) > 1:
        raise UserError(f"resume must have one run, got {' and '.join(names)}; type: tfscale resume {names[0]}")
    given, rest = separate(parse(values), ("run.dir", "run.name"))
    folder = user_paths.expanded(given.get("run.dir", "runs"))
    path = find_run.find(names[0] if names else given.get("run.name", find_run.LATEST), folder)
    overrides = [f"run.name={quoted(path.name)}", f"run.dir={quoted(str(path.parent))}"]
    return train.train(["resume=true", *overrides, *(str(each.input_line) for each in rest)], None, flags.command)
