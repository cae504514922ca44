"""What safety costs a training step, as ratios within one run: checkpoints, digests, equal bits on any processes.

usage: python -m tfscale.scripts.bench_prices [--rounds 200] [--processes 2] [--every 50] [--strategy sharing]
                                              [--json FILE]

LeNet, global batch 128, on random images. The same processes hold a job a variant and train them in turns, `--every`
steps at a time, in every order equally often:

* plain: as it is shipped;
* checkpoint: a save is begun first, is written while the steps go on, and is waited for after them;
* digests left out: replicas do not say which parameters they hold;
* reproducible: replicas add in one order (`strategy=horovod` alone, which has a choice).

What a variant costs is the median, over the rounds, of what its steps took beyond plain ones of the same round, so that
a machine that becomes slower or faster over seconds does not matter. The interval beside it holds the median of endless
rounds in 95 of 100 such runs (order statistics, no distribution assumed).
"""

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle, islice, permutations
from pathlib import Path

from tfscale.launch.attempt import Attempt
from tfscale.launch.processes import Processes
from tfscale.launch.run_directory import RunDirectory
from tfscale.launch.starting import by_command, die_with_parent
from tfscale.reporting.console import person_console, results_table
from tfscale.world import World, from_environment

WARM_UP = 60
"""Steps of each job before the clock starts."""

PLAIN, CHECKPOINT, LEFT_OUT, REPRODUCIBLE = "plain", "checkpoint", "digests left out", "reproducible"
Seconds = dict[str, list[float]]
"""Variant -> what its steps took in each round."""


def work(arguments: argparse.Namespace) -> None:
    """In each process: trains, and the chief writes what it measured."""
    die_with_parent()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    world = from_environment() or World()
    blocks = _blocks(arguments, world)
    seconds: Seconds = {name: [] for name in blocks}
    for order in islice(cycle(permutations(blocks)), arguments.rounds):
        for name in order:
            began = time.perf_counter()
            blocks[name]()
            seconds[name].append(time.perf_counter() - began)
    if world.is_chief:
        (arguments.folder / "seconds.json").write_text(json.dumps(seconds))


def _blocks(arguments: argparse.Namespace, world: World) -> Mapping[str, Callable[[], None]]:
    """Builds and warms up the job of each variant; what trains it for `--every` steps."""
    from tfscale.config.preflight import check_job, preflight
    from tfscale.job import build, connect
    from tfscale.training.checkpoint import Checkpoints
    from tfscale.training.loop import training_steps

    def config(*words: str):
        common = ("model=lenet", "data=synthetic", "data.examples=16384", "train.steps=1000000")
        words = (*common, f"strategy={arguments.strategy}", f"train.batch={128 // world.size}", *words)
        return check_job(preflight(words, config_dir=None), processes=world.size)

    def block(*words: str, saves: bool = False) -> Callable[[], None]:
        job = build(config(*words), connection)
        steps = training_steps(
            job.state, job.data, shards=job.collective.size, batch=job.plan.batch, seed=job.plan.seed, prefetch=4
        )
        for _ in range(WARM_UP):
            next(steps)

        def train() -> None:
            if saves:
                checkpoints.save(job.state)
            for _ in range(arguments.every - 1):
                next(steps)
            float(next(steps).losses[0])  # a device may still be computing what Python has started
            if saves:
                checkpoints.settle()

        return train

    connection = connect(config(), world)
    checkpoints = Checkpoints(
        arguments.folder / "checkpoints",
        keep=2,
        process=world.rank,
        processes=world.size,
        attempt="bench",
        identity={},
        warn=sys.exit,
    )
    blocks = {PLAIN: block(), CHECKPOINT: block(saves=True)}
    with _without_digests():
        blocks[LEFT_OUT] = block()
    if arguments.strategy == "horovod":
        blocks[REPRODUCIBLE] = block("strategy.reproducible=true")
    return blocks


@contextmanager
def _without_digests() -> Iterator[None]:
    """Replicas of jobs that are built meanwhile all say the same number instead."""
    import tensorflow as tf

    from tfscale import digest

    choose = digest.choose
    digest.choose = lambda devices: lambda parameters: tf.constant(0)
    try:
        yield
    finally:
        digest.choose = choose


def prices(seconds: Seconds) -> list[dict[str, object]]:
    """A row a variant: what its steps took beyond plain ones, as a share of plain ones."""
    plain = seconds[PLAIN]
    usual = statistics.median(plain)
    rows = []
    for name, own in seconds.items():
        beyond = [one - other for one, other in zip(own, plain, strict=True)]
        low, high = interval_of_median(beyond)
        rows.append(
            {
                "what": name,
                "rounds": len(own),
                "milliseconds": round(1e3 * statistics.median(own), 1),
                "beyond_plain": f"{statistics.median(beyond) / usual:+.2%}",
                "from": f"{low / usual:+.2%}",
                "to": f"{high / usual:+.2%}",
            }
        )
    return rows


def interval_of_median(values: Sequence[float]) -> tuple[float, float]:
    """The order statistics between which the median lies with a probability of 0.95; the ends for few values."""
    values = sorted(values)
    reach = 0.98 * math.sqrt(len(values))
    low, high = math.floor(len(values) / 2 - reach), math.ceil(len(values) / 2 + reach)
    return values[max(low, 0)], values[min(high, len(values) - 1)]


def main() -> None:
    """Runs the bench, or one process of it."""
    parser = argparse.ArgumentParser(description="What safety costs a training step.")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--every", type=int, default=50, help="steps at a time, and from save to save")
    parser.add_argument("--strategy", default="sharing")
    parser.add_argument("--json", type=Path, default=None, help="also write the rows there")
    parser.add_argument("--folder", type=Path, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder is not None:
        work(arguments)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        command = [sys.executable, "-m", "tfscale.scripts.bench_prices", *sys.argv[1:], "--folder", temporary]
        directory = RunDirectory(folder)
        job = Processes(
            by_command(command),
            Attempt(processes=arguments.processes),
            directory=directory,
            start_timeout=120,
            interface=None,
        )
        if job.run().code:
            sys.exit(directory.log(0).read_text()[-3000:])
        rows = prices(json.loads((folder / "seconds.json").read_text()))
    title = f"{arguments.strategy}, {arguments.processes} processes, {arguments.every} steps at a time"
    results_table(person_console(), title, rows)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
