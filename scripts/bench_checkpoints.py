"""What a checkpoint every 50 steps costs, as a ratio within one run.

usage: python -m tfscale.scripts.bench_checkpoints [--processes 2] [--pairs 100] [--every 50] [--strategy sharing]

LeNet, global batch 128, on random images, in pairs of blocks of `--every` steps: one begins with a save, which is
written while its steps go on, and is waited for at its end; one has no save. Which comes first changes from pair to
pair. What a save costs is the median of the pairs' differences, so that a machine that becomes slower or faster over
seconds does not matter; the interval beside it holds the median of endless pairs in 95 of 100 such runs (order
statistics, no distribution assumed).
"""

import argparse
import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tfscale.launch.attempt import Attempt
from tfscale.launch.processes import Processes
from tfscale.launch.run_directory import RunDirectory
from tfscale.launch.starting import by_command, die_with_parent

WARM_UP = 60


def work(arguments: argparse.Namespace) -> None:
    """In each process: trains, and the chief prints what it measured."""
    die_with_parent()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tfscale.config.preflight import check_job, preflight
    from tfscale.job import build, connect
    from tfscale.training.checkpoint import Checkpoints
    from tfscale.training.loop import training_steps
    from tfscale.world import World, from_environment

    world = from_environment() or World()
    words = (f"strategy={arguments.strategy}", "model=lenet", "data=synthetic", "data.examples=16384")
    config = preflight([*words, "train.steps=1000000", f"train.batch={128 // world.size}"], config_dir=None)
    config = check_job(config, processes=world.size)
    job = build(config, connect(config, world))
    checkpoints = Checkpoints(
        arguments.folder / "checkpoints",
        keep=2,
        process=world.rank,
        processes=world.size,
        attempt="bench",
        identity={},
        warn=sys.exit,
    )
    steps = training_steps(
        job.state, job.data, shards=job.collective.size, batch=job.plan.batch, seed=job.plan.seed, prefetch=4
    )
    for _ in range(WARM_UP):
        next(steps)
    costs, without = list[float](), list[float]()
    for pair in range(arguments.pairs):
        seconds = dict[bool, float]()
        for saves in (True, False) if pair % 2 else (False, True):
            began = time.perf_counter()
            if saves:
                checkpoints.save(job.state)
            for _ in range(arguments.every - 1):
                next(steps)
            float(next(steps).losses[0])
            checkpoints.settle()
            seconds[saves] = time.perf_counter() - began
        costs.append(seconds[True] - seconds[False])
        without.append(seconds[False])
    if world.is_chief:
        block = statistics.median(without)
        low, high = interval_of_median(costs)
        print(
            f"{arguments.strategy}, {world.size} processes, {arguments.pairs} pairs: {arguments.every} steps "
            f"{1e3 * block:.1f} ms; a checkpoint costs {statistics.median(costs) / block:+.2%} "
            f"({low / block:+.2%} to {high / block:+.2%})"
        )


def interval_of_median(values: list[float]) -> tuple[float, float]:
    """The order statistics between which the median lies with a probability of 0.95; the ends for few values."""
    values = sorted(values)
    reach = 0.98 * math.sqrt(len(values))
    low, high = math.floor(len(values) / 2 - reach), math.ceil(len(values) / 2 + reach)
    return values[max(low, 0)], values[min(high, len(values) - 1)]


def main() -> None:
    """Runs the bench, or one process of it."""
    parser = argparse.ArgumentParser(description="What a checkpoint costs.")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--strategy", default="sharing")
    parser.add_argument("--folder", type=Path, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder is not None:
        work(arguments)
        return
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "tfscale.scripts.bench_checkpoints", *sys.argv[1:], "--folder", temporary]
        directory = RunDirectory(Path(temporary))
        job = Processes(
            by_command(command),
            Attempt(processes=arguments.processes),
            directory=directory,
            start_timeout=120,
            interface=None,
        )
        if job.run().code:
            sys.exit(directory.log(0).read_text()[-3000:])


if __name__ == "__main__":
    main()
