"""Evaluation, sharded over all replicas and exact whatever the shard sizes.

Each replica evaluates its own shard of the examples; the metrics' sums and counts are then added over all
replicas, so nothing is an average of averages and W does not change the result. The model evaluated is the replicas'
consensus; every replica gets its own parameters back.

An evaluation may follow every few steps, so datasets and functions are built once, at the first.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, final

import keras
import numpy as np
import tensorflow as tf

from tfscale.collectives.base import Collective
from tfscale.collectives.checksummed import add_checksum, verify_checksum
from tfscale.data.base import Batch, Data, Shard, Split
from tfscale.errors import UserError, first_line
from tfscale.specs import Nested, leaves
from tfscale.tasks.base import Measure, Task
from tfscale.training.replica import Replica

BATCH = 256
"""Examples of a replica at a time; changes no result."""


@final
class Evaluator:
    """Evaluates the consensus of the replicas on a split of the data.

    Weights of examples count in the loss, and not in metrics.

    Args:
        replicas: This process's replicas.
        data: Source of the examples.
        collective: Gathers the metrics of all replicas.
        task: Gives targets, losses and metrics.
    """

    def __init__(
        self,
        replicas: Sequence[Replica],
        *,
        data: Data,
        collective: Collective,
        task: Task,
    ) -> None:
        self._replicas, self._data, self._collective, self._task = replicas, data, collective, task
        self._names = ["loss", *task.measures]
        self._batches: dict[tuple[Split, int], Iterable[Batch]] = {}
        self._exchanges = [_exchange_function(replica) for replica in replicas]
        self._metrics = [self._make(replica.device, task.measures) for replica in replicas]
        self._updates = [
            _update_function(replica, task, own) for replica, own in zip(replicas, self._metrics, strict=True)
        ]

    def check(self, x: Nested[tf.Tensor], y: Nested[tf.Tensor]) -> None:
        """Scores a batch and forgets it: a metric that does not fit the targets fails before training.

        Args:
            x: Inputs of a batch.
            y: Targets of it, as the source has them.

        Raises:
            UserError: A metric cannot score it.
        """
        replica, task = self._replicas[0], self._task
        with tf.device(replica.device):
            outputs, targets = replica.outputs(x, training=False), task.encode(x, y)
            for metric, (name, measure) in zip(self._metrics[0][1:], task.measures.items(), strict=True):
                try:
                    metric.update_state(*(_of(measure.output, part) for part in (targets, outputs)))
                except Exception as error:
                    raise UserError(
                        f"metrics.{name} ({type(metric).__name__}) cannot score targets of task={task.name}: "
                        f"{first_line(error)}; choose another metric"
                    ) from error
                metric.reset_state()

    @staticmethod
    def _make(device: str, measures: Mapping[str, Measure]) -> list[keras.Metric]:
        with tf.device(device):
            return [keras.metrics.Mean(name="loss"), *(measure.make() for measure in measures.values())]

    @property
    def metrics(self) -> Mapping[str, keras.Metric]:
        """The metrics of the first replica by name, without the loss; `check` has built them."""
        return dict(zip(self._names[1:], self._metrics[0][1:], strict=True))

    @property
    def directions(self) -> Mapping[str, Literal["min", "max"] | None]:
        """Name -> `min` or `max`, the better direction of the loss and each metric; None if a metric names none."""
        known: dict[str, Literal["min", "max"]] = {"up": "max", "down": "min"}
        directions: dict[str, Literal["min", "max"] | None] = {}
        for name, metric in zip(self._names, self._metrics[0], strict=True):
            directions[name] = known.get(str(getattr(metric, "_direction", None)))
        directions["loss"] = "min"
        return directions

    def __call__(
        self, consensus: tf.Tensor, split: Split, before_batch: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """Returns loss and metrics of a model. All processes must call it.

        Args:
            consensus: Parameters of the model, [S].
            split: The examples to evaluate it on.
            before_batch: Called before each batch.
        """
        for replica, exchange, metrics, update in zip(
            self._replicas, self._exchanges, self._metrics, self._updates, strict=True
        ):
            own = exchange(consensus)
            for metric in metrics:
                metric.reset_state()
            for x, y, weight in self._evaluation_batches(split, replica.rank):
                before_batch()
                update(x, y, weight)
            exchange(own)
        return dict(zip(self._names, self._results(), strict=True))

    def _evaluation_batches(self, split: Split, rank: int) -> Iterable[Batch]:
        """One pass over a replica's shard; a dataset is kept, as building it costs more than a small pass."""
        if (split, rank) in self._batches:
            return self._batches[split, rank]
        batches = self._data.evaluate(split, Shard(rank, self._collective.size), batch=BATCH)
        if not isinstance(batches, Iterator):  # which can be read once
            self._batches[split, rank] = batches
        return batches

    def _results(self) -> list[float]:
        """Adds the metric states of all replicas in rank order, in float64, into those of the first, and reads them."""
        messages = self._collective.gather(
            [add_checksum(tf.bitcast(_flat(metrics), tf.int32)) for metrics in self._metrics]
        )
        gathered = [tf.bitcast(verify_checksum(each, rank), tf.float32).numpy() for rank, each in enumerate(messages)]
        total, start = np.asarray(np.stack(gathered).sum(axis=0, dtype=np.float64)), 0
        for metric in self._metrics[0]:
            for variable in metric.variables:
                size = int(np.prod(variable.shape))
                variable.assign(total[start : start + size].reshape(variable.shape))
                start += size
        return [_scalar(name, metric.result()) for name, metric in zip(self._names, self._metrics[0], strict=True)]


def _scalar(name: str, result: tf.Tensor) -> float:
    if np.ndim(result):
        raise UserError(f"metrics.{name} must give one number, got shape {np.shape(result)}; choose how it averages")
    return float(result)


def _flat(metrics: Sequence[keras.Metric]) -> tf.Tensor:
    parts = [tf.reshape(variable.value, [-1]) for metric in metrics for variable in metric.variables]
    return tf.cast(tf.concat([tf.cast(part, tf.float32) for part in parts], axis=0), tf.float32)


def _exchange_function(replica: Replica) -> Callable[[tf.Tensor], tf.Tensor]:
    """Compiles ([S]) -> [S]: the replica takes the given parameters and returns its own."""

    @tf.function(autograph=False, jit_compile=False)
    def exchange(parameters: tf.Tensor) -> tf.Tensor:
        own = replica.parameters()
        replica.assign(parameters)
        return own

    return exchange


def _update_function(replica: Replica, task: Task, metrics: Sequence[keras.Metric]) -> Callable[..., None]:
    """Compiles (x, y, weight) -> None: adds a batch to the metrics, the loss first."""

    @tf.function(autograph=False, jit_compile=False, reduce_retracing=True)
    def update(x: Nested[tf.Tensor], y: Nested[tf.Tensor], weight: tf.Tensor) -> None:
        with tf.device(replica.device):
            outputs, targets = replica.outputs(x, training=False), task.encode(x, y)
            metrics[0].update_state(task.loss(targets, outputs), weight)
            for metric, measure in zip(metrics[1:], task.measures.values(), strict=True):
                metric.update_state(*(_of(measure.output, part) for part in (targets, outputs)))

    return update


def _of(output: str, nested: Nested[tf.Tensor]) -> tf.Tensor:
    return leaves(nested)[output]
