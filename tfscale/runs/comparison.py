"""Compares the results of two runs bit for bit."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tfscale.runs.run_directory import RunDirectory
from tfscale.tracking.records import records


def comparison(old: RunDirectory, new: RunDirectory) -> tuple[bool, list[str]]:
    """Compares parameters and metrics of two runs that have ended.

    Returns:
        Whether they have the same bits; and the lines that say so.
    """
    before, now = old.results(), new.results()
    names = ["parameters_sha256", "steps", "loss", "val_loss", *before.get("metrics", ()), *now.get("metrics", ())]
    differ = [name for name in dict.fromkeys(names) if before.get(name) != now.get(name)]
    name = old.path.name
    if not differ:
        shown = [f"{metric} {before[metric]}" for metric in before.get("metrics", ())]
        return True, [f"same bits as run {name}: " + ", ".join([f"parameters {_short(before)}", *shown])]
    lines = [f"  {each}: {before.get(each)}, now {now.get(each)}" for each in differ]
    return False, [f"NOT the bits of run {name}:", *lines, f"  {_losses(old.metrics, new.metrics)}"]


def _short(results: Mapping[str, Any]) -> str:
    return str(results.get("parameters_sha256"))[:16]


def _losses(old: Path, new: Path) -> str:
    """Says from which step on the training losses differ."""
    later = dict(_steps(new))
    for step, loss in _steps(old):
        if step in later and later[step] != loss:
            return f"training losses differ from step {step:,} on: {loss}, now {later[step]}"
    return "training losses are the same at every step that both runs have"


def _steps(metrics: Path) -> Iterator[tuple[int, Any]]:
    """Yields step and loss of each step record."""
    with suppress(OSError):
        yield from ((each["step"], each.get("loss")) for each in records(metrics) if each.get("kind") == "step")
