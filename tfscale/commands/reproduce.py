"""`tfscale reproduce`: runs the settings of a finished run again, and tells whether the new run ends in the same bits.

The new run starts as those of `tfscale train` do, from the saved configuration instead of a composed one. What differs
in versions, devices and data is said by the rank that trains, before it trains: only there the data are known.
"""

import argparse
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tfscale import user_paths
from tfscale.checkpoint.folder import newest_complete
from tfscale.checkpoint.format import DamagedError, verify
from tfscale.commands import prepare, train
from tfscale.commands.run_rows import RunRow
from tfscale.commands.train import Typed
from tfscale.config import find_run, follow_up, saved, validate
from tfscale.config.overrides import Override, key_of, parse, separate
from tfscale.config.preflight import Composed
from tfscale.config.schemas.config import Config
from tfscale.errors import UserError
from tfscale.runs import provenance
from tfscale.runs.comparison import comparison
from tfscale.runs.run_directory import RunDirectory
from tfscale.world import from_environment

OVER = "train.max_time is over"
"""Reason in summary.json of a run that only the clock has ended."""


def main(flags: argparse.Namespace) -> int:
    """Trains the new run and compares it with the old one.

    Returns:
        0 if parameters and metrics have the same bits, 1 if not; the exit code of the new run if it fails.

    Raises:
        UserError: There is no such run, it has no results to compare with, or a word is wrong.
    """
    names, values = find_run.names_and_values(flags.words)
    if len(names) != 1:
        raise UserError(
            f"reproduce must have one run, got {' and '.join(names) or 'none'}; type: tfscale reproduce NAME"
        )
    given, rest = separate(parse(values), ("run.dir", "run.name"))
    _require_permitted(rest)
    folder = user_paths.expanded(given.get("run.dir", "runs"))
    old = find_run.find(names[0], folder)
    earlier, row = saved.read(old, rest), RunRow(old, old.name)
    _require_results(row, old, earlier.trust)
    config = _config(earlier, row.results, folder, given.get("run.name"))
    starts = provenance.starts(old / "environment.json")
    world = from_environment()
    is_chief = world is None or world.is_chief
    if is_chief:
        _report_changes(old.name, starts)
    made: list[RunDirectory] = []

    def create(config: Config) -> RunDirectory:
        made.append(prepare.new_directory(config, f"{old.name}-reproduced"))
        made[0].resume_command = follow_up.command("resume", made[0].path, config.trust)
        return made[0]

    facts = {"reproduces": {"run": str(old.absolute()), "facts": _facts(old, starts)}}
    choices = starts[0].get("choices") if starts else None
    code = train.start(
        Composed(config, choices if isinstance(choices, dict) else {}),
        Typed(command=flags.command, overrides=values, again=None, facts=facts),
        create,
    )
    if code or not is_chief:
        return code
    agrees, lines = comparison(RunDirectory(old, only_read=True), made[0])
    print("\n".join(lines), flush=True)
    return 0 if agrees else 1


def _require_permitted(overrides: Sequence[Override]) -> None:
    for override in overrides:
        key = key_of(override)
        if key != "trust" and not key.startswith("launch."):
            raise UserError(
                f"{key} cannot change: reproduce runs the same settings again; only launch.KEY, run.dir, run.name and "
                "trust can be given, or type: tfscale train"
            )


def _require_results(row: RunRow, old: Path, trust: Sequence[str]) -> None:
    """Checks that the run has ended, and by its settings alone.

    Raises:
        UserError: It has not.
    """
    state = row.facts["state"]
    if state == "training":
        raise UserError(f"run {old.name} is being trained; wait for its end")
    if state != "done" or "parameters_sha256" not in row.results:
        why = row.facts["last_failure"] or state
        raise UserError(
            f"run {old.name} has no results to compare with ({why}); finish it first: "
            f"{follow_up.command('resume', old, trust)}"
        )
    if row.results.get("ended_early") == OVER:
        more = follow_up.command("resume", old, trust, "train.max_time=null")
        raise UserError(
            f"run {old.name} was ended by train.max_time, so its length depends on the machine; let it go on to an end "
            f"that its settings determine: {more}"
        )


def _config(earlier: Config, results: Mapping[str, Any], folder: Path, name: str | None) -> Config:
    """The configuration of the new run: the saved one, with as many processes as the run had.

    Raises:
        UserError: The name cannot be that of a run.
    """
    values = earlier.model_dump(mode="json")
    values["resume"] = False
    values["run"] |= {"dir": str(folder), "name": None if name in (None, "null") else name}
    values["train"]["max_time"] = None  # the run did not need it to end
    if values["launch"]["np"] == "auto" and isinstance(results.get("processes"), int):
        values["launch"]["np"] = results["processes"]
    problems = validate.problems_of(values)
    if problems:
        raise UserError(*problems)
    return validate.typed(values)


def _report_changes(name: str, starts: Sequence[Mapping[str, Any]]) -> None:
    """Prints the values that were changed while the run was resumed: the new run has them from the beginning."""
    own = ("resume", "run.name", "run.dir", "trust")
    words = [str(word) for each in starts[1:] for word in each.get("overrides") or ()]
    changes = [word for word in words if word.partition("=")[0].lstrip("+") not in own]
    if changes:
        print(f"run {name} was resumed with {' '.join(changes)}; the new run has that from its first step", flush=True)


def _facts(old: Path, starts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The facts that the bits of the run depended on; without `data` in environment.json, those of its checkpoint."""
    facts = dict(starts[-1]) if starts else {}
    if "data" not in facts:
        with suppress(DamagedError, OSError):
            newest = newest_complete(old / "checkpoints")
            facts |= {} if newest is None else verify(newest).identity
    return {name: facts[name] for name in provenance.COMPARED if name in facts}
