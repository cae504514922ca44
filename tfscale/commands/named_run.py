"""The run that a command's arguments name, and what else they say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfscale import user_paths
from tfscale.config import find_run
from tfscale.config.overrides import Override, parse, separate
from tfscale.errors import UserError


@dataclass(frozen=True, kw_only=True)
class NamedRun:
    """A run that a command works on.

    Attributes:
        folder: Of the run.
        given: The command's own keys that were typed, and their values.
        overrides: Everything else.
    """

    folder: Path
    given: Mapping[str, str]
    overrides: Sequence[Override]


def named_run(command: str, words: Sequence[str], keys: Sequence[str]) -> NamedRun:
    """Finds the run of `tfscale COMMAND NAME` or `tfscale COMMAND run=NAME`.

    Args:
        command: For messages.
        words: Names and KEY=VALUE words.
        keys: Keys of the command's own, beside run and run.dir.

    Raises:
        UserError: There is no such run, or not one name.
    """
    names, values = find_run.names_and_values(words)
    given, rest = separate(parse(values), ("run", "run.dir", *keys))
    names += [given["run"]] if "run" in given else []
    if not names:
        raise UserError(f"{command} must have the name of a run; type: tfscale {command} NAME")
    if len(names) > 1:
        raise UserError(f"{command} must have one run, got {' and '.join(names)}; type: tfscale {command} {names[0]}")
    folder = find_run.find(names[0], user_paths.expanded(given.get("run.dir", "runs")))
    return NamedRun(folder=folder, given=given, overrides=rest)
