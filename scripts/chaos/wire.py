"""Flips bits on the wire between real processes, and checks that none of them reaches an update.

usage: python -m tfscale.scripts.chaos.wire [--count 2000] [--processes 3] [--seed 1] [--strategies sharing horovod]

Each process exchanges the same gradients again and again through a strategy, from the same state. Before each exchange
the library of preload.py is told to flip one bit of a message. Each process must then get an error, or the result of an
undisturbed exchange; anything else is a wrong update. Bits of Horovod's own messages are flipped, too: if that ends the
job, this is counted, and a new job continues. `chaos --faults wire` checks that whole runs survive.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfscale.scripts.chaos import preload

from tfscale.launchers.local import LocalLauncher
from tfscale.launchers.spawn import spawn_command
from tfscale.runs.run_directory import RunDirectory
from tfscale.supervision.attempt import Attempt, Outcome
from tfscale.tracking.tables import person_console, results_table

STRATEGIES = {"sharing": ("strategy=sharing",), "horovod": ("strategy=horovod", "strategy.reproducible=true")}
EXCHANGES = 256
"""Exchanges of one job: few are lost if it ends early."""

LONGEST = 20
"""Seconds for one exchange."""


def work(strategy: str, count: int, seed: int, folder: Path) -> None:
    """Exchanges in one process of a job, and writes the number of exchanges by result."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import random

    import numpy as np

    from tfscale.config.preflight import check_job, preflight
    from tfscale.job.build import build, connect
    from tfscale.world import World, from_environment

    world, chance = from_environment() or World(), random.Random(seed)
    words = ["data=synthetic", "data.shape=[64]", "model.hidden=[64]", *STRATEGIES[strategy]]
    words.append("strategy.collective.shared_memory=false")  # processes must not share memory
    config = check_job(preflight(words, config_dir=None), processes=world.size)
    exchange = _exchange(build(config, connect(config, world)), world.rank)
    wanted = [exchange() for _ in range(3)][-1]  # the first exchanges agree on a threshold
    found: Counter[str] = Counter()
    for number in range(count):
        signal.alarm(LONGEST)  # a corrupt message of Horovod may leave all waiting
        if world.is_chief and not preload.is_flipping():
            found["flipped"] += bool(number)
            preload.flip(chance.randrange(2**32))
        try:
            got = exchange()
        except Exception as error:  # noqa: BLE001 - classified by its message
            found["found" if "tfscale: the" in str(error) else f"failed: {type(error).__name__}"] += 1
            if "tfscale: the" not in str(error):
                break
        else:
            found["as it should be" if np.array_equal(got, wanted) else "WRONG"] += 1
        (folder / f"found-{world.rank}.json").write_text(json.dumps(found))


def _exchange(job, rank: int) -> Callable[[], Any]:
    """Returns an exchange of the same gradients, from the same state after its third call."""
    import numpy as np
    import tensorflow as tf

    strategy = job.state.strategy
    random = np.random.default_rng(rank)
    own = [
        tf.constant(random.standard_normal(each.shape), tf.float32)
        for each in job.state.replicas[0].trainable_tensors()
    ]
    held = job.state.replicas[0].trainable_tensors()
    reduce = tf.function(strategy.reduce_gradients, autograph=False)
    variables = [*strategy.shared_state().values(), *strategy.replica_state(0).values()]
    calls, states = 0, []

    def once():
        nonlocal calls, states
        calls += 1
        if calls == 3:
            states = [variable.numpy() for variable in variables]
        if calls > 3:
            for variable, state in zip(variables, states, strict=True):
                variable.assign(state)
        reduced = reduce([own], [held], tf.constant(min(calls, 3), tf.int64))
        return np.concatenate([each.numpy().ravel() for each in reduced[0]])

    return once


def bench(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Returns a row for each strategy."""
    rows = []
    for strategy in arguments.strategies:
        total, jobs, ended = Counter[str](), 0, 0
        while total["flipped"] < arguments.count and jobs < 20 + arguments.count // 10:
            jobs += 1
            preload.disarm()
            with tempfile.TemporaryDirectory() as temporary:
                directory = RunDirectory(Path(temporary))
                command = [sys.executable, "-m", "tfscale.scripts.chaos.wire", "--worker", strategy]
                command += ["--count", str(EXCHANGES), "--seed", str(arguments.seed + jobs), "--folder", temporary]
                spawn = spawn_command(command)
                launcher = LocalLauncher(
                    lambda attempt, spawn=spawn: spawn, directory=directory, start_timeout=60, interface=None
                )
                result = launcher.run(Attempt(processes=arguments.processes))
                ended += result.outcome is not Outcome.DONE
                for path in Path(temporary).glob("found-*.json"):
                    total.update(json.loads(path.read_text()))
            why = f"; the last one ended early: {result.cause}" if result.cause else ""
            print(f"{strategy}, {jobs} jobs: {dict(total)}{why}", file=sys.stderr, flush=True)
        rows.append({"strategy": strategy, "jobs": jobs, "ended_early": ended, **_row(total)})
    return rows


def _row(total: Counter[str]) -> dict[str, object]:
    names = ("flipped", "found", "as it should be", "WRONG")
    return {**{name: total[name] for name in names}, "failed": sum(total.values()) - sum(total[name] for name in names)}


def main() -> None:
    """Flips bits, or runs one process of a job; exit code 1 if a flipped bit went unnoticed."""
    parser = argparse.ArgumentParser(description="Flips bits on the wires of real processes.")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--worker", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker is not None:
        work(arguments.worker, arguments.count, arguments.seed, arguments.folder)
        return
    if preload.FOLDER not in os.environ:
        folder = tempfile.mkdtemp(prefix="tfscale-chaos-")
        loaded = preload.preloaded(Path(folder))
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **loaded})
    try:
        rows = bench(arguments)
    finally:
        shutil.rmtree(os.environ[preload.FOLDER], ignore_errors=True)
    results_table(person_console(), f"bits flipped on the wire, seed {arguments.seed}", rows)
    sys.exit(any(row["WRONG"] for row in rows))


if __name__ == "__main__":
    main()
