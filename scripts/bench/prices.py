"""What safety costs a training step, as ratios within one run: checkpoints, digests, equal bits on any processes.

usage: python -m tfscale.scripts.bench.prices [--rounds 1000] [--processes 2] [--steps 10] [--every 50]
                                              [--strategy sharing] [--json FILE]

LeNet, global batch 128, on random images. The same processes train in these ways in turns, `--steps` at a time, in
orders drawn at random:

* plain: as it is shipped;
* checkpoint: the same job, but a save is begun first, is written while the steps go on, and is waited for after them;
  what that takes is spread over the `--every` steps from save to save;
* digests left out: the same job, whose replicas are told not to say which parameters they hold, nor to compare that;
* reproducible: another job, whose replicas add in one order (`strategy=horovod` alone, which has a choice).

One job may be a hundredth faster than its twin in the same processes, by where its memory is, for as long as it lives.

What a variant costs is the median, over the rounds, of what its steps took beyond plain ones of the same round, so that
a machine that becomes slower or faster over seconds does not matter; the shorter a turn, the less. The interval beside
it holds the median of endless rounds in 95 of 100 such runs (order statistics: no distribution is assumed, but that
rounds are independent).
"""

import argparse
import json
import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tfscale.launchers.local import LocalLauncher
from tfscale.launchers.spawn import die_with_parent, spawn_command
from tfscale.runs.run_directory import RunDirectory
from tfscale.supervision.attempt import Attempt
from tfscale.tracking.tables import person_console, results_table
from tfscale.world import World, from_environment

if TYPE_CHECKING:  # the parent does without TensorFlow
    import tensorflow as tf

    from tfscale.config.schemas.config import Config
    from tfscale.job.build import Job
    from tfscale.training.checkpoints import Checkpoints

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
    trains = _trainings(arguments, world)
    seconds: Seconds = {name: [] for name in trains}
    chance = random.Random(0)  # the same orders in all processes
    for _ in range(arguments.rounds):
        for name in chance.sample(list(trains), k=len(trains)):
            began = time.perf_counter()
            trains[name]()
            seconds[name].append(time.perf_counter() - began)
    if world.is_chief:
        (arguments.folder / "seconds.json").write_text(json.dumps(seconds))


def _trainings(arguments: argparse.Namespace, world: World) -> Mapping[str, Callable[[], None]]:
    """What trains the job of each variant for `--steps` steps; all are warmed up."""
    from tfscale.job.build import build, connect

    plain = _config(arguments.strategy, world)
    connection = connect(plain, world)

    with switched_digests() as digests:
        job = build(plain, connection)
        steps = _training(job, arguments.steps)  # compiles them
    trains = {
        PLAIN: steps,
        CHECKPOINT: _saving(job, steps, _checkpoints(arguments.folder, world)),
        LEFT_OUT: _without(digests, steps),
    }
    if arguments.strategy == "horovod":
        other = build(_config(arguments.strategy, world, "strategy.reproducible=true"), connection)
        trains[REPRODUCIBLE] = _training(other, arguments.steps)
    return trains


def _config(strategy: str, world: World, *words: str) -> "Config":
    from tfscale.config.preflight import check_job, preflight

    common = ("model=lenet", "data=synthetic", "data.examples=16384", "train.steps=1000000")
    words = (*common, f"strategy={strategy}", f"train.batch={128 // world.size}", *words)
    return check_job(preflight(words, config_dir=None), processes=world.size)


def _checkpoints(folder: Path, world: World) -> "Checkpoints":
    from tfscale.checkpoint import staging
    from tfscale.training.checkpoints import Checkpoints

    def warn(words: str) -> None:  # called by a thread, which cannot end the process otherwise
        print(words, file=sys.stderr, flush=True)
        os._exit(1)

    return Checkpoints(
        folder / "checkpoints",
        keep=2,
        process=world.rank,
        processes=world.size,
        attempt="bench",
        identity={},
        memory=staging.StagingBuffer(staging.inherit()),
        warn=warn,
    )


def _training(job: "Job", count: int) -> Callable[[], None]:
    """Trains a job for so many steps whenever it is called."""
    from tfscale.training.loop import training_steps

    steps = training_steps(
        job.state, job.data, shards=job.collective.size, batch=job.plan.batch, seed=job.plan.seed, prefetch=4
    )
    for _ in range(WARM_UP):
        next(steps)

    def train() -> None:
        for _ in range(count - 1):
            next(steps)
        float(next(steps).losses[0])  # a device may still be computing what Python has started

    return train


def _without(digests: "tf.Variable", train: Callable[[], None]) -> Callable[[], None]:
    """Trains likewise, with a switch off."""

    def switched() -> None:
        digests.assign(False)
        train()
        digests.assign(True)

    return switched


def _saving(job: "Job", train: Callable[[], None], checkpoints: "Checkpoints") -> Callable[[], None]:
    """Trains a job likewise, and saves its state meanwhile."""

    def both() -> None:
        checkpoints.save(job.state)
        train()
        checkpoints.wait()

    return both


@contextmanager
def switched_digests() -> "Iterator[tf.Variable]":
    """A switch, [] bool, for the digests of jobs that are built and first run meanwhile: off, there are none."""
    import tensorflow as tf

    from tfscale import digest
    from tfscale.collectives import consistency

    on = tf.Variable(tf.constant(True), trainable=False)
    choose, digest_slots, require_consistent = digest.choose, consistency.digest_slots, consistency.require_consistent

    def chosen(devices: Sequence[str]) -> digest.Digest:
        own = choose(devices)
        return lambda parameters: tf.cond(on, lambda: own(parameters), lambda: tf.constant(0))

    def cast(digests: Iterable[tf.Tensor], ranks: Sequence[int], replicas: int) -> list[tf.Tensor]:
        nothing = tf.zeros([consistency.PLACES * replicas])
        return tf.cond(on, lambda: digest_slots(digests, ranks, replicas), lambda: [nothing for _ in ranks])

    def agreed(digests: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        return tf.cond(on, lambda: require_consistent(digests, step), tf.no_op)

    digest.choose, consistency.digest_slots, consistency.require_consistent = chosen, cast, agreed
    try:
        yield on
    finally:
        digest.choose, consistency.digest_slots, consistency.require_consistent = (
            choose,
            digest_slots,
            require_consistent,
        )


def prices(seconds: Seconds, *, spread: float) -> list[dict[str, object]]:
    """A row a variant: what its steps took beyond plain ones, as a share of plain ones.

    Args:
        seconds: What was measured.
        spread: For each turn with a save, how many turns' steps there are from save to save.
    """
    plain = seconds[PLAIN]
    rows = []
    for name, own in seconds.items():
        usual = statistics.median(plain) * (spread if name == CHECKPOINT else 1)
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
    low = max(0, math.floor((len(values) - 1) / 2 - 0.98 * math.sqrt(len(values))))
    return values[low], values[len(values) - 1 - low]


def main() -> None:
    """Runs the bench, or one process of it."""
    parser = argparse.ArgumentParser(description="What safety costs a training step.")
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10, help="at a time; a save should be done in less")
    parser.add_argument("--every", type=int, default=50, help="steps from save to save")
    parser.add_argument("--strategy", choices=("sharing", "horovod"), default="sharing")
    parser.add_argument("--json", type=Path, default=None, help="also write the rows there")
    parser.add_argument("--folder", type=Path, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder is not None:
        work(arguments)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        command = [sys.executable, "-m", "tfscale.scripts.bench.prices", *sys.argv[1:], "--folder", temporary]
        directory = RunDirectory(folder)
        spawn = spawn_command(command)
        launcher = LocalLauncher(lambda attempt: spawn, directory=directory, start_timeout=120, interface=None)
        if launcher.run(Attempt(processes=arguments.processes)).code:
            sys.exit(directory.log(0).read_text()[-3000:])
        seconds = json.loads((folder / "seconds.json").read_text())
        rows = prices(seconds, spread=arguments.every / arguments.steps)
    title = (
        f"{arguments.strategy}, {arguments.processes} processes, {arguments.steps} steps at a time, "
        f"{arguments.every} from save to save"
    )
    results_table(person_console(), title, rows)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
