"""Injects faults into real runs, and looks whether they end in the bits of a run that nothing happened to.

usage: python -m tfscale.scripts.chaos [--faults kill freeze ...] [--strategies sharing horovod local] [--count 15]
                                       [--processes 3] [--replicas N] [--steps 1000] [--a-run 5] [--seed 1]
                                       [--json FILE] [--folder DIR] [SETTING ...]

Every strategy first trains undisturbed (recipe=faults_digits: dropout, Adam, a checkpoint every 25 steps, and whatever
settings are given, as optimizer=nesterov). Then, for each fault, runs of the same settings are disturbed at random
times, `--a-run` times each, until `--count` faults have been injected, and their last checkpoints are compared:
weights, statistics, random streams, optimizer, residuals, thresholds, step.
What happens is drawn from the seed; when it meets the run is up to the machine. Jobs are forked by this script, which
has imported TensorFlow once: a user's first start takes some seconds more.

A row of the table is a fault under a strategy: how often it was injected, how often the run went on (by itself, or by
`tfscale resume` where the job was ended), how many runs ended in equal bits, and how long it took from a fault to the
first new step after it, of those with no other fault in between; how many starts but the last had completed a step, and
how many steps were done again, at most. With several strategies, the last row of a fault is over all of them.
"""

import argparse
import itertools
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from tfscale.scripts.chaos.faults import FAULTS, Fault, Victim
from tfscale.scripts.chaos.preload import FOLDER, preloaded

from tfscale import cli
from tfscale.checkpoint import format as checkpoint_format
from tfscale.launchers.spawn import ProcessHandle, spawn_fork
from tfscale.runs.events import read_events
from tfscale.startup_noise import quiet
from tfscale.tracking.tables import person_console, results_table

STRATEGIES = {
    "sharing": ("strategy=sharing",),
    "horovod": ("strategy=horovod", "strategy.reproducible=true"),
    "local": ("strategy=local", "strategy.reproducible=true"),
}
COMMON = ("recipe=faults_digits",)
OVER_LOOPBACK = ("strategy/collective=horovod", "strategy.collective.shared_memory=false")
"""For faults of a wire: there must be one."""

LIMIT = 300.0
"""Seconds for a run to come to its end."""


@dataclass
class Tally:
    """What became of the faults of one kind under one strategy."""

    injected: int = 0
    survived: int = 0
    runs: int = 0
    equal: int = 0
    recoveries: list[float] = field(default_factory=list)
    after_a_step: int = 0
    replayed: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Counts what another has counted, too."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


def _tfscale(folder: Path, name: str, words: Sequence[str]) -> ProcessHandle:
    """Starts a command of tfscale in the folder; what it says goes to NAME.log."""

    def main() -> int:
        os.chdir(folder)
        return cli.main(words)

    with (folder / f"{name}.log").open("ab") as log:
        return spawn_fork(main)({}, log, log)


def _digest(folder: Path, name: str) -> str | None:
    """Of everything in the last checkpoint of a run that has come to its end."""
    if not (folder / "runs" / name / "summary.json").exists():
        return None
    return checkpoint_format.verify(checkpoint_format.complete(folder / "runs" / name / "checkpoints")[0]).digest


def _disturbed(
    folder: Path, name: str, words: Sequence[str], fault: Fault, chance: random.Random, tally: Tally, most: int
) -> list[float]:
    """One run with up to `most` faults, to its end; returns when they were."""
    process = _tfscale(folder, name, ["train", *COMMON, *words, f"run.name={name}"])
    victim = Victim(process=process, run=folder / "runs" / name, chance=chance, number=tally.injected)
    deadline, times = time.monotonic() + LIMIT, []
    for _ in range(most):
        if not victim.wait():
            break
        tally.injected += 1
        times.append(time.time())
        try:
            again = fault(victim)
        except RuntimeError as error:
            tally.problems.append(f"{name}: {error}")
            tally.survived -= 1
            again = None
        victim.number += 1
        if again is not None:
            victim.process = _tfscale(folder, name, ["resume", name, *again])
        tally.survived += 1
    if victim.ended(deadline - time.monotonic()) is None:
        victim.process.kill()
        tally.problems.append(f"{name} did not end in {LIMIT:.0f} s")
    code = victim.process.wait()
    tally.runs += 1
    if code:
        tally.survived -= 1
        tally.problems.append(f"{name} ended with exit code {code}: {(folder / f'{name}.log').read_text()[-300:]}")
    return times


def _recoveries(run: Path, times: Sequence[float]) -> list[float]:
    """Seconds from each fault to the first step of the start after it, if no other fault came before that."""
    events = read_events(run / "events.jsonl")
    starts, steps = ([event["when"] for event in events if event["event"] == kind] for kind in ("start", "training"))
    seconds = []
    for fault, following in itertools.pairwise([*times, float("inf")]):
        start = min((when for when in starts if when > fault), default=following)
        first = min((when for when in steps if when > start), default=following)
        if first < following:
            seconds.append(first - fault)
    return seconds


def _after_a_step(run: Path) -> int:
    """How many starts, but for the last, have completed a step."""
    kinds = [event["event"] for event in read_events(run / "events.jsonl")]
    last = max((place for place, kind in enumerate(kinds) if kind == "start"), default=0)
    return kinds[:last].count("training")


def _replayed(run: Path) -> list[int]:
    """Steps that were done before a fault and had to be done again."""
    events, steps = read_events(run / "events.jsonl"), []
    for before, after in itertools.pairwise(events):
        if before["event"] == "end" and after["event"] == "start" and before.get("step"):
            place = after.get("checkpoint") or "step-0"
            steps.append(max(0, before["step"] - int(place.removeprefix("step-"))))
    return steps


def bench(arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """A row for each fault under each strategy, and then for each under all."""
    rows, checksums = [], {name: Tally() for name in arguments.faults}
    for strategy in arguments.strategies:
        replicas = arguments.replicas or arguments.processes
        words = (
            *STRATEGIES[strategy],
            *(f"launch.np={arguments.processes}", f"strategy.replicas={replicas}", f"train.steps={arguments.steps}"),
            *arguments.settings,
        )
        if _tfscale(folder, strategy, ["train", *COMMON, *words, f"run.name={strategy}"]).wait():
            sys.exit(f"{strategy} failed undisturbed:\n{(folder / f'{strategy}.log').read_text()[-3000:]}")
        wanted = _digest(folder, strategy)
        for name in arguments.faults:
            chance, tally, number = random.Random(f"{arguments.seed} {strategy} {name}"), Tally(), 0
            while tally.injected < arguments.count and number < 2 * arguments.count:
                number += 1
                run = f"{strategy}-{name}-{number}"
                wire = OVER_LOOPBACK if name == "wire" else ()
                most = min(arguments.a_run, arguments.count - tally.injected)
                times = _disturbed(folder, run, [*words, *wire], FAULTS[name], chance, tally, most)
                digest = _digest(folder, run)
                tally.equal += bool(equal := digest == wanted)
                if not equal:
                    tally.problems.append(f"{run} ended in other bits" if digest else f"{run} has not come to its end")
                tally.recoveries += _recoveries(folder / "runs" / run, times)
                tally.after_a_step += _after_a_step(folder / "runs" / run)
                tally.replayed += _replayed(folder / "runs" / run)
                print(f"{run}: {tally.injected} injected, equal {equal}", file=sys.stderr, flush=True)
            rows.append(_row(strategy, name, tally))
            checksums[name].add(tally)
    if len(arguments.strategies) > 1:
        rows += [_row("all", name, tally) for name, tally in checksums.items()]
    return rows


def _row(strategy: str, name: str, tally: Tally) -> dict[str, Any]:
    return {
        "strategy": strategy,
        "fault": name,
        "injected": tally.injected,
        "survived": tally.survived,
        "runs": tally.runs,
        "equal_bits": tally.equal,
        "recoveries": len(tally.recoveries),
        "recovery_p50_s": _percentile(tally.recoveries, 50),
        "recovery_p99_s": _percentile(tally.recoveries, 99),
        "longest_recovery_s": _percentile(tally.recoveries, 100),
        "after_a_step": tally.after_a_step,
        "most_steps_replayed": max(tally.replayed, default=None),
        "problems": "; ".join(tally.problems),
    }


def _percentile(values: Sequence[float], percent: float) -> float | None:
    """By nearest rank: one of the values; 99 of a hundred of less than 100 values is the greatest."""
    return round(float(np.percentile(values, percent, method="inverted_cdf")), 2) if values else None


def main() -> None:
    """Runs the faults that were asked for; exit code 1 if a run did not go on or ended in other bits."""
    parser = argparse.ArgumentParser(description="Injects faults into real runs.")
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--count", type=int, default=15, help="faults of each kind under each strategy")
    parser.add_argument("--a-run", type=int, default=5, help="faults in one run, at most")
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--replicas", type=int, default=None, help="one a process, if not given")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, default=None, help="also write the rows there")
    parser.add_argument("--folder", type=Path, default=None, help="keep the runs there")
    parser.add_argument("settings", nargs="*", metavar="SETTING", help="of the runs, as after `tfscale train`")
    arguments = parser.parse_args()
    if FOLDER not in os.environ:  # a library is loaded before all others only when a program starts
        folder = tempfile.mkdtemp(prefix="tfscale-chaos-")
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **preloaded(Path(folder))})
    with quiet():  # what ranks are forked with
        import tfscale.commands.rank  # noqa: F401
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder = arguments.folder or Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            rows = bench(arguments, folder)
    finally:
        shutil.rmtree(os.environ[FOLDER], ignore_errors=True)
    results_table(person_console(), f"faults, seed {arguments.seed}", rows)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    sys.exit(any(row["problems"] for row in rows))


if __name__ == "__main__":
    main()
