"""Training loops of other tools, as the documentation of each writes them, for bench_strategies to measure.

All have the model, optimizer, loss and input pipeline of the strategies that they stand beside. Each function returns
one step to call again and again, which returns the loss, and the number of examples that this process computes in it.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

Step = tuple[Callable[[], object], int]


def _parts():
    """Data, model, optimizer and loss: what `tfscale train model=lenet optimizer=nesterov` has."""
    import keras

    from tfscale.data.arrays import source_of
    from tfscale.data.pipeline import IndexedData
    from tfscale.data.sources.synthetic import synthetic
    from tfscale.models.lenet import lenet

    arrays = synthetic(examples=16384, test_examples=16, shape=[28, 28, 1], classes=10, noise=1.0, seed=0)
    data = IndexedData(source_of(arrays))
    model = lenet(input_shape=[28, 28, 1], outputs=10, activation="softmax")
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True)
    optimizer.build(model.trainable_variables)
    return data, model, optimizer, keras.losses.SparseCategoricalCrossentropy(reduction="none")


def _batches(data, batch: int, seed: int) -> Iterator[tuple]:
    from tfscale.data.base import Shard

    return iter(data.train(Shard(0, 1), batch=batch, seed=seed, start=0, prefetch=4))


def _gradients(model, loss_of, x, y):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(loss_of(y, model(x, training=True)))
    return loss, tape.gradient(loss, [each.value for each in model.trainable_variables])


def alone(batch: int, rank: int, processes: int) -> Step:
    """A plain tf.function step; several processes that run it do not know of each other."""
    return _one_replica(batch, rank, processes, lambda: lambda gradients: gradients)


def horovod(batch: int, rank: int, processes: int) -> Step:
    """Horovod's own recipe: every gradient through an allreduce of its own."""

    def join() -> Callable[[list], list]:
        import horovod.tensorflow as hvd

        hvd.init()
        return lambda gradients: [
            hvd.allreduce(each, op=hvd.Average, name=f"gradient.{index}") for index, each in enumerate(gradients)
        ]

    return _one_replica(batch, rank, processes, join)


def _one_replica(batch: int, rank: int, processes: int, join: Callable[[], Callable[[list], list]]) -> Step:
    """A tf.function step of one replica a process; `join`, called once devices are claimed, combines gradients."""
    import tensorflow as tf

    from tfscale import cores, devices

    devices.claim(1, local_rank=rank, local_size=processes, threads=max(1, cores.count() // processes))
    combined = join()
    data, model, optimizer, loss_of = _parts()

    @tf.function
    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        loss, gradients = _gradients(model, loss_of, x, y)
        optimizer.apply(combined(gradients), model.trainable_variables)
        return loss

    batches = _batches(data, batch // processes, rank)

    def once() -> tf.Tensor:
        x, y, _ = next(batches)
        return step(x, y)

    return once, batch // processes


def mirrored(batch: int) -> Step:
    """MirroredStrategy on two logical CPU devices, with a custom loop."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    return _distributed(strategy, batch, batch // 2, range(2)), batch


def multi_worker(batch: int, rank: int, processes: int, folder: Path) -> Step:
    """MultiWorkerMirroredStrategy, with a custom loop (Keras fit does not work with it: keras#20585)."""
    workers = [f"127.0.0.1:{port}" for port in _ports(folder, rank, processes)]
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}})
    import tensorflow as tf

    from tfscale import cores, devices

    devices.claim(1, local_rank=rank, local_size=processes, threads=max(1, cores.count() // processes))
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    return _distributed(strategy, batch, batch // processes, [rank]), batch // processes


def _distributed(strategy, batch: int, own: int, ranks) -> Callable[[], object]:
    """A custom loop as TensorFlow's guide writes it, fed by the same pipeline."""
    import tensorflow as tf

    with strategy.scope():
        data, model, optimizer, loss_of = _parts()

    def replica_step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            per_example: tf.Tensor = loss_of(y, model(x, training=True))  # pyright: ignore[reportAssignmentType]
            loss = tf.reduce_sum(per_example) / batch
        optimizer.apply_gradients(
            zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
        )
        return loss

    @tf.function
    def step(x, y) -> tf.Tensor:
        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(replica_step, args=(x, y)), axis=None)

    feeds = [_batches(data, own, rank) for rank in ranks]

    def once() -> tf.Tensor:
        parts = [next(feed) for feed in feeds]
        if len(parts) == 1:
            return step(parts[0][0], parts[0][1])
        x, y = (
            strategy.experimental_distribute_values_from_function(
                lambda context, index=index: parts[context.replica_id_in_sync_group][index]
            )
            for index in (0, 1)
        )
        return step(x, y)

    return once


def _ports(folder: Path, rank: int, processes: int) -> list[int]:
    """Free ports that rank 0 has found, in every process."""
    place = folder / "ports.json"
    if rank == 0:
        sockets = [socket.socket() for _ in range(processes)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in sockets]
        for each in sockets:
            each.close()
        temporary = place.with_suffix(".tmp")
        temporary.write_text(json.dumps(ports))
        os.replace(temporary, place)
    deadline = time.monotonic() + 60
    while not place.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"rank 0 has not written {place}")
        time.sleep(0.01)
    return json.loads(place.read_text())
