"""Injects faults into real runs, and checks that they are bit-identical to an undisturbed run.

usage: python -m tfscale.scripts.chaos [--faults kill freeze ...] [--strategies sharing rounds ...] [--count 15]
                                       [--processes 3] [--replicas N] [--steps 1000] [--a-run 5] [--seed 1]
                                       [--json FILE] [--folder DIR] [SETTING ...]

Every strategy first trains undisturbed (recipe=faults_digits: dropout, Adam, a checkpoint every 25 steps, and the given
settings, as optimizer=nesterov). Then, for each fault, runs of the same settings are disturbed at random times,
`--a-run` times each, until `--count` faults have been injected, and their last checkpoints are compared: weights,
statistics, random streams, optimizer, residuals, thresholds, step. The seed determines the faults and their delays; the
step that a fault hits depends on the machine. This script forks the jobs after it has imported TensorFlow once: the
first start of a user's job takes some seconds more.

A row of the table is a fault under a strategy: number injected; number survived (by a restart, or by `tfscale resume`
where the fault ends the job); number of runs, and of those with equal bits; seconds from a fault to the first new step,
of faults with no other fault in between; number of starts, the last excluded, that completed a step; maximal number of
repeated steps. With several strategies, the last row of a fault is the sum over all of them.
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
from tfscale.checkpoint.folder import complete
from tfscale.checkpoint.format import verify
from tfscale.launchers.spawn import ProcessHandle, spawn_fork
from tfscale.runs.events import read_events
from tfscale.startup_noise import hidden_stderr
from tfscale.tracking.tables import person_console, results_table

STRATEGIES = {
    "sharing": ("strategy=sharing",),
    "rounds": ("strategy=sharing", "strategy.every=16", "strategy.levels=3", "strategy/outer=sgd"),
    "divided": ("strategy=sharing", "strategy.reduce=scatter", "strategy.every=4", "strategy.delay=1"),
    "horovod": ("strategy=horovod", "strategy.reproducible=true"),
    "local": ("strategy=local", "strategy.reproducible=true"),
    "outer": ("strategy=local", "strategy.reproducible=true", "strategy.every=16", "strategy/outer=nesterov"),
    "int8": ("strategy=local", "strategy.reproducible=true", "strategy.every=16", "strategy.payload=int8"),
}
COMMON = ("recipe=faults_digits",)
OVER_LOOPBACK = ("strategy/collective=horovod", "strategy.collective.shared_memory=false")
"""For faults on the wire: processes must not share memory."""

LIMIT = 900.0
"""Seconds for one run: a start that hangs, for example by a flipped bit of Horovod's, is ended after ten minutes."""


@dataclass
class Tally:
    """Results of the faults of one kind under one strategy."""

    injected: int = 0
    survived: int = 0
    runs: int = 0
    equal: int = 0
    recoveries: list[float] = field(default_factory=list)
    after_a_step: int = 0
    replayed: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Adds the counts of another tally."""
        for count in fields(self):
            setattr(self, count.name, getattr(self, count.name) + getattr(other, count.name))


def _tfscale(folder: Path, name: str, words: Sequence[str]) -> ProcessHandle:
    """Starts a command of tfscale in the folder; its output goes to NAME.log."""

    def main() -> int:
        os.chdir(folder)
        return cli.main(words)

    with (folder / f"{name}.log").open("ab") as log:
        return spawn_fork(main)({}, log, log)


def _digest(folder: Path, name: str) -> str | None:
    """Digest of the last checkpoint of a run; None if the run has not ended well."""
    if not (folder / "runs" / name / "summary.json").exists():
        return None
    return verify(complete(folder / "runs" / name / "checkpoints")[0]).digest


def _disturbed(
    folder: Path, name: str, words: Sequence[str], fault: Fault, chance: random.Random, tally: Tally, most: int
) -> list[float]:
    """Runs one job to its end with up to `most` faults; returns their times."""
    process = _tfscale(folder, name, ["train", *COMMON, *words, f"run.name={name}"])
    victim = Victim(process=process, run=folder / "runs" / name, random=chance, number=tally.injected)
    deadline, times = time.monotonic() + LIMIT, []
    for _ in range(most):
        if not victim.wait():
            break
        tally.injected += 1
        times.append(time.time())
        try:
            resume_words = fault(victim)
        except RuntimeError as error:
            tally.problems.append(f"{name}: {error}")
            tally.survived -= 1
            resume_words = None
        victim.number += 1
        if resume_words is not None:
            victim.process = _tfscale(folder, name, ["resume", name, *resume_words])
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
    """Seconds from each fault to the first step of the next start, other faults in between excluded."""
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
    """Number of starts, the last excluded, that have completed a step."""
    kinds = [event["event"] for event in read_events(run / "events.jsonl")]
    last = max((index for index, kind in enumerate(kinds) if kind == "start"), default=0)
    return kinds[:last].count("training")


def _replayed(run: Path) -> list[int]:
    """Numbers of steps that each fault made the run repeat."""
    events, steps = read_events(run / "events.jsonl"), []
    for before, after in itertools.pairwise(events):
        if before["event"] == "end" and after["event"] == "start" and before.get("step"):
            checkpoint = after.get("checkpoint") or "step-0"
            steps.append(max(0, before["step"] - int(checkpoint.removeprefix("step-"))))
    return steps


def bench(arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Returns a row for each fault under each strategy, then one for each fault under all strategies."""
    rows, totals = [], {name: Tally() for name in arguments.faults}
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
                    tally.problems.append(f"{run} ended in other bits" if digest else f"{run} has not ended")
                tally.recoveries += _recoveries(folder / "runs" / run, times)
                tally.after_a_step += _after_a_step(folder / "runs" / run)
                tally.replayed += _replayed(folder / "runs" / run)
                print(f"{run}: {tally.injected} injected, equal {equal}", file=sys.stderr, flush=True)
            rows.append(_row(strategy, name, tally))
            totals[name].add(tally)
    if len(arguments.strategies) > 1:
        rows += [_row("all", name, tally) for name, tally in totals.items()]
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
    """Percentile by nearest rank: one of the values; the 99th of less than 100 values is the greatest."""
    return round(float(np.percentile(values, percent, method="inverted_cdf")), 2) if values else None


def main() -> None:
    """Injects the chosen faults; exit code 1 if a run did not survive or ended in other bits."""
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
    if FOLDER not in os.environ:  # LD_PRELOAD is read when a program starts
        folder = tempfile.mkdtemp(prefix="tfscale-chaos-")
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **preloaded(Path(folder))})
    with hidden_stderr():  # imported once, before ranks are forked
        import tfscale.job.train  # noqa: F401
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
