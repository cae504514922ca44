"""Evaluation, sharded over all replicas and exact whatever the shard sizes.

Each replica sees its own slice of the test examples; the metrics' sums and counts are then added over all replicas, so
nothing is an average of averages and W does not change the result. The model evaluated is the replicas' consensus, and
every replica gets its own parameters back.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, final

import keras
import numpy as np
import tensorflow as tf

from tfscale.collectives.base import Collective
from tfscale.collectives.checksummed import add_checksum, verify_checksum
from tfscale.data.base import Data, Shard
from tfscale.errors import UserError
from tfscale.training.replica import Replica

BATCH = 256
"""Examples at a time and replica: it changes no result."""


@final
class Evaluator:
    """Measures the consensus of the replicas on test data.

    Args:
        replicas: This process's replicas.
        data: Where the test examples are.
        collective: Adds up the metrics of all replicas.
        loss: Per-example loss: reduction "none".
        metrics: Name -> function that makes a keras.Metric whose state adds up (sums, counts, confusion matrices).
    """

    def __init__(
        self,
        replicas: Sequence[Replica],
        *,
        data: Data,
        collective: Collective,
        loss: keras.losses.Loss,
        metrics: Mapping[str, Callable[[], keras.Metric]],
    ) -> None:
        self._replicas, self._data, self._collective, self._loss = replicas, data, collective, loss
        self._names = ["loss", *metrics]
        self._metrics = [self._make(replica.device, metrics) for replica in replicas]
        self._updates = [
            _update_function(replica, loss, own) for replica, own in zip(replicas, self._metrics, strict=True)
        ]

    @staticmethod
    def _make(device: str, metrics: Mapping[str, Callable[[], keras.Metric]]) -> list[keras.Metric]:
        with tf.device(device):
            return [keras.metrics.Mean(name="loss"), *(make() for make in metrics.values())]

    @property
    def directions(self) -> Mapping[str, Literal["min", "max"] | None]:
        """Name -> whether less or more is better, of the loss and each metric; None where a metric does not say."""
        known: dict[str, Literal["min", "max"]] = {"up": "max", "down": "min"}
        directions: dict[str, Literal["min", "max"] | None] = {}
        for name, metric in zip(self._names, self._metrics[0], strict=True):
            directions[name] = known.get(str(getattr(metric, "_direction", None)))
        directions["loss"] = "min"
        return directions

    def __call__(self, consensus: tf.Tensor, before_batch: Callable[[], None] = lambda: None) -> dict[str, float]:
        """Returns loss and metrics of the model with parameters `consensus` [S]. All processes must call it.

        Args:
            consensus: What to evaluate.
            before_batch: Called before each batch.
        """
        for replica, metrics, update in zip(self._replicas, self._metrics, self._updates, strict=True):
            own = replica.parameters()
            replica.assign(consensus)
            for metric in metrics:
                metric.reset_state()
            shard = Shard(replica.rank, self._collective.size)
            for x, y in self._data.evaluate(shard, batch=BATCH):
                before_batch()
                update(x, y)
            replica.assign(own)
        return dict(zip(self._names, self._results(), strict=True))

    def _results(self) -> list[float]:
        """Adds the metric states of all replicas in rank order, in float64, into the first one's and reads those."""
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


def _update_function(
    replica: Replica, loss: keras.losses.Loss, metrics: Sequence[keras.Metric]
) -> Callable[[tf.Tensor, tf.Tensor], None]:
    @tf.function(autograph=False, jit_compile=False, reduce_retracing=True)
    def update(x: tf.Tensor, y: tf.Tensor) -> None:
        with tf.device(replica.device):
            outputs = replica.model(x, training=False)
            metrics[0].update_state(loss(y, outputs))
            for metric in metrics[1:]:
                metric.update_state(y, outputs)

    return update
