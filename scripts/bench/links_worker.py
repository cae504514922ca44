"""One training process of bench_links, inside its own network namespace: trains, and writes down what it measured.

The loop is tfscale's own for all columns but PyTorch's. fp16 is a collective in front of Horovod's: the exchange that a
person would write by hand, and nothing else of the job changes.

Training time is the time of the steps alone. Evaluations, and what they send, are not counted, and neither is the first
step, which compiles for seconds. Bytes are those of the interface: headers, acknowledgements and Horovod's own talk
between the processes, which never stops, are among them.
"""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, final

from tfscale.scripts.bench.links_network import INTERFACE

from tfscale.launchers.spawn import die_with_parent
from tfscale.world import World, from_environment

if TYPE_CHECKING:
    import tensorflow as tf

    from tfscale.collectives.base import Collective, RegularGather

FP32, FP16, POWERSGD = "allreduce fp32", "allreduce fp16", "pytorch ddp + powersgd"
SHARING, ROUNDS = "sharing", "sharing in rounds"
ROUND = 4
"""Steps of a round."""

STRATEGIES = {
    FP32: ("strategy=horovod",),
    FP16: ("strategy=horovod",),
    SHARING: ("strategy=sharing",),
    ROUNDS: ("strategy=sharing", f"strategy.every={ROUND}"),
}
"""Column -> the settings of its strategy."""

HIDDEN = (2900, 2900)
"""Widths: 10.7 million trainable parameters on 28x28 images."""

MOMENTUM = 0.9
SEED = 12345


@dataclass(frozen=True, kw_only=True)
class Task:
    """The settings of one measurement.

    Attributes:
        column: One of the names above.
        batch: Examples of a step and process.
        rate: Learning rate.
        steps: To train if there is no target.
        target: Test accuracy to train to, whatever the steps; None for none.
        every: Steps between two evaluations.
        limit: Seconds of training after which it stops short of the target.
        folder: Where results go.
        overrides: The job; None for that of the column.
        threads: Of one operation.
    """

    column: str
    batch: int
    rate: float
    steps: int
    target: float | None
    every: int
    limit: float
    folder: str
    overrides: Sequence[str] | None = None
    threads: int = 1

    def to_json(self) -> str:
        """For a command line."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The results of one process.

    Attributes:
        seconds: Of each step, in order.
        sent: Bytes that left the interface during them, the first one excepted.
        reached: Steps after which the target was first met; None if it was not.
        accuracy: The last test accuracy; None if there was no evaluation.
        trial: Candidate -> seconds of a step, as strategy=auto measured them; empty without it.
    """

    seconds: list[float]
    sent: int
    reached: int | None
    accuracy: float | None
    trial: Mapping[str, float] = field(default_factory=dict)


class Trainer(Protocol):
    """Something that learns together with its peers. All processes make the same calls.

    Attributes:
        trial: See `Measured`.
    """

    trial: Mapping[str, float]

    def step(self) -> None:
        """Trains one step, to its end."""
        ...

    def accuracy(self) -> float:
        """On the whole test set, the same in every process."""
        ...

    def anyone(self, flag: bool) -> bool:
        """Returns whether any process says so; what was sent before has arrived by then."""
        ...


def sent_bytes() -> int:
    """Bytes that have left this namespace."""
    return int(Path(f"/sys/class/net/{INTERFACE}/statistics/tx_bytes").read_text())


def _timed(trainer: Trainer) -> float:
    """Seconds of one step."""
    began = time.perf_counter()
    trainer.step()
    return time.perf_counter() - began


def measure(trainer: Trainer, task: Task) -> Measured:
    """Trains as the task says."""
    seconds = [_timed(trainer)]
    trainer.anyone(False)
    sent, accuracy = 0, None
    while True:
        before = sent_bytes()
        for _ in range(task.steps - 1 if task.target is None else task.every - len(seconds) % task.every):
            seconds.append(_timed(trainer))
        over = trainer.anyone(sum(seconds) > task.limit)
        sent += sent_bytes() - before
        if task.target is None:
            return Measured(seconds=seconds, sent=sent, reached=None, accuracy=None)
        accuracy = trainer.accuracy()
        if accuracy >= task.target:
            return Measured(seconds=seconds, sent=sent, reached=len(seconds), accuracy=accuracy)
        if over:
            return Measured(seconds=seconds, sent=sent, reached=None, accuracy=accuracy)


@final
class HalfPrecision:
    """Another collective whose means travel as float16.

    Args:
        inner: That one.
    """

    def __init__(self, inner: "Collective") -> None:
        self._inner, self.size, self.ranks, self.transport = inner, inner.size, inner.ranks, inner.transport

    def of(self, replicas: int) -> "HalfPrecision":
        """As the other one."""
        return HalfPrecision(self._inner.of(replicas))

    def mean(self, vectors: Sequence["tf.Tensor"]) -> "tf.Tensor":
        """R x [D] -> [D]: cast down, one allreduce, cast back."""
        import tensorflow as tf

        return tf.cast(self._inner.mean([tf.cast(vector, tf.float16) for vector in vectors]), tf.float32)

    def total(self, vectors: Sequence["tf.Tensor"]) -> "tf.Tensor":
        """As the other one."""
        return self._inner.total(vectors)

    def gather(self, messages: Sequence["tf.Tensor"]) -> list["tf.Tensor"]:
        """As the other one."""
        return self._inner.gather(messages)

    def regular_gather(self) -> "RegularGather":
        """As the other one."""
        return self._inner.regular_gather()

    def all_to_all(self, bundles: Sequence["tf.Tensor"]) -> list["tf.Tensor"]:
        """As the other one."""
        return self._inner.all_to_all(bundles)

    def broadcast(self, vectors: Sequence["tf.Tensor"]) -> "tf.Tensor":
        """As the other one."""
        return self._inner.broadcast(vectors)


def words(task: Task) -> list[str]:
    """The overrides of the task's job."""
    threads = f"launch.threads={task.threads}"  # by itself each process would count all cores of the machine as its own
    if task.overrides is not None:
        return [*task.overrides, threads]
    return [
        threads,
        *("model=mlp", f"model.hidden={list(HIDDEN)}", "data=mnist", f"seed={SEED}"),
        *("optimizer=nesterov", f"optimizer.learning_rate={task.rate}", f"optimizer.momentum={MOMENTUM}"),
        *(*STRATEGIES[task.column], "train.steps=1000000", f"train.batch={task.batch}"),
    ]


@final
class Product:
    """tfscale's own job and loop.

    Args:
        task: Which.
        world: Which process this is.
    """

    def __init__(self, task: Task, world: World) -> None:
        from tfscale.config.preflight import check_job, preflight
        from tfscale.job.build import build, connect
        from tfscale.job.build_data import build_data
        from tfscale.job.choose_strategy import choose
        from tfscale.training.loop import training_steps

        config = check_job(preflight(words(task), config_dir=None), processes=world.size)
        connection = connect(config, world)
        if task.column == FP16:
            connection = replace(connection, collective=HalfPrecision(connection.collective))
        data = build_data(config)
        chosen = choose(config, connection, data, world, lambda phase, step: None)
        self.trial = chosen.seconds
        self._job = job = build(chosen.config, connection, data)
        self._steps = training_steps(
            job.state, job.data, shards=world.size, batch=job.plan.batch, seed=job.plan.seed, prefetch=job.plan.prefetch
        )

    def step(self) -> None:
        """See `Trainer`."""
        float(next(self._steps).losses[0])  # a device may still be computing what Python has started

    def accuracy(self) -> float:
        """See `Trainer`."""
        from tfscale.data.base import Split

        return self._job.evaluator(self._job.state.consensus(), Split.TEST)["accuracy"]

    def anyone(self, flag: bool) -> bool:
        """See `Trainer`."""
        import tensorflow as tf

        said = self._job.collective.gather([tf.constant([int(flag)], tf.int32)])
        return bool(tf.reduce_any(tf.concat(said, axis=0) > 0))


def _trainer(task: Task, world: World) -> Trainer:
    if task.column != POWERSGD:
        return Product(task, world)
    from tfscale.scripts.bench.links_powersgd import PowerSgd

    return PowerSgd(task, world, widths=HIDDEN, momentum=MOMENTUM, seed=SEED)


def main() -> None:
    """Runs the task that the command line holds as JSON."""
    die_with_parent()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    task, world = Task(**json.loads(sys.argv[1])), from_environment() or World()
    trainer = _trainer(task, world)
    measured = replace(measure(trainer, task), trial=trainer.trial)
    (Path(task.folder) / f"measured-{world.rank}.json").write_text(json.dumps(asdict(measured)))


if __name__ == "__main__":
    main()
