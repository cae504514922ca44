"""Messages of a job of up to 1,024 replicas, made of real gradients by the real codec, in one process.

usage: python -m tfscale.scripts.bench.scale [--ranks 2 4 8 ...] [--density 0.001] [--json FILE]

LeNet on Fashion-MNIST is trained for some steps. Then each replica adds gradients of its own batches to a residual of
its own, and sends what reaches the threshold, until residuals are as full as in a run. The last messages are measured:
what a replica receives, in bytes a parameter, and the CPU time of what it does with them, on one thread.

    gathered     each replica adds the messages of all
    divided      each adds one part of the elements, and all sums are gathered (strategy.reduce=scatter)
    ring         an allreduce of D float32, for comparison

No link is needed, and none is measured.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfscale.scripts.bench.links import collected

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from tfscale.compression.backends.base import Spec

JOB = ("model=lenet", "data=fashion_mnist", "optimizer=nesterov", "train.batch=32", "launch.threads=1")
TRAINED = 100
"""Steps of training before gradients are taken."""

STEPS = 20
"""Steps with a threshold that give the last messages."""

SAMPLED = 16
"""Replicas whose residuals decide the threshold."""

REPEATS = 5
"""Repetitions of a measurement of CPU time, of which the median counts."""

HEADER = (7, 5, 0)
"""Step, digest and residual ratio of all messages."""

Row = dict[str, Any]


class Gradients:
    """Gradients of a LeNet that has trained for a while; each is of another batch."""

    def __init__(self) -> None:
        import tensorflow as tf

        from tfscale.config.preflight import check_job, preflight
        from tfscale.data.base import Shard
        from tfscale.job.build import build, connect
        from tfscale.job.timed_training import TimedTraining
        from tfscale.world import World

        words = [*JOB, "strategy=local", "strategy.replicas=1", "train.steps=1000000"]
        config = check_job(preflight(words, config_dir=None), processes=1)
        job = build(config, connect(config, World()))
        TimedTraining(job, shards=1, warm_up=TRAINED).close()
        self.layout, self._model = job.layout, job.state.replicas[0].model
        self._loss = tf.keras.losses.SparseCategoricalCrossentropy()
        batches = job.data.train(Shard(0, 1), batch=config.train.batch, seed=1, start=0, prefetch=8)
        self._batches = iter(batches)
        self._function = tf.function(self._gradient, autograph=False)

    def __call__(self) -> "tf.Tensor":
        """Returns the gradient [D] of the next batch."""
        inputs, targets, _ = next(self._batches)
        return self._function(inputs, targets)

    def _gradient(self, inputs: "tf.Tensor", targets: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        from tfscale.vectors import flatten

        with tf.GradientTape() as tape:
            loss = self._loss(targets, self._model(inputs, training=True))
        return flatten([tf.convert_to_tensor(each) for each in tape.gradient(loss, self._model.trainable_variables)])


def updates_of(gradients: Gradients, spec: "Spec", ranks: int, density: float) -> tuple[list[Any], "tf.Tensor"]:
    """Returns what each replica sends at a step, and the threshold."""
    import numpy as np
    import tensorflow as tf

    from tfscale.compression.backends.native import Native

    backend, size = Native(spec), spec.layout.size
    residuals = [tf.Variable(tf.zeros([size])) for _ in range(ranks)]
    updates, thresholds = list[Any](), tf.zeros([1])
    for _ in range(STEPS):
        given = [gradients() for _ in residuals[:SAMPLED]]
        waiting = zip(residuals, given, strict=False)
        each = [np.quantile(np.abs(residual.numpy() + new.numpy()), 1 - density) for residual, new in waiting]
        thresholds = tf.constant([float(np.mean(each))])
        given += [gradients() for _ in residuals[SAMPLED:]]
        updates = [
            backend.accumulate(residual, None, backend.check(new), thresholds)
            for residual, new in zip(residuals, given, strict=True)
        ]
    return updates, thresholds


def cpu_seconds(work: Callable[[], object]) -> float:
    """Returns the median CPU time of a call."""
    seconds = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return statistics.median(seconds)


def _mean_words(messages: "Sequence[tf.Tensor]") -> float:
    return statistics.fmean(len(message.numpy()) for message in messages)


def header_of(thresholds: "tf.Tensor") -> "tf.Tensor":
    """Returns the header's fields that all messages share."""
    import tensorflow as tf

    from tfscale.compression.message import threshold_word

    step, digest, ratio = HEADER
    return tf.stack([tf.constant(step), threshold_word(thresholds), tf.constant(digest), tf.constant(ratio)])


def gathered(spec: "Spec", updates: Sequence[Any], thresholds: "tf.Tensor") -> tuple[Row, "np.ndarray"]:
    """Returns bytes a parameter and CPU time if each replica adds all messages; and the sum."""
    from tfscale.compression.backends.native import Native

    backend, header = Native(spec), header_of(thresholds)
    messages = [backend.encode(update, header) for update in updates]
    decoded = backend.decode(messages, thresholds, header[:2])
    encode = cpu_seconds(lambda: backend.encode(updates[0], header))
    decode = cpu_seconds(lambda: backend.decode(messages, thresholds, header[:2]))
    received = _mean_words(messages) * (len(messages) - 1)
    row = {"bytes": 4 * received / spec.layout.size, "cpu_ms": 1e3 * (encode + decode)}
    return row, decoded.sum.numpy()


def divided(spec: "Spec", updates: Sequence[Any], thresholds: "tf.Tensor") -> tuple[Row, "np.ndarray"]:
    """Returns bytes a parameter and CPU time if each replica adds one part; and the sum."""
    import numpy as np
    import tensorflow as tf

    from tfscale.compression.backends.native import Native

    ranks, header = len(updates), header_of(thresholds)
    backend = Native(replace(spec, parts=ranks))
    bundles = [backend.encode(update, header).numpy() for update in updates]
    starts = [np.cumsum([ranks, *bundle[:ranks]]) for bundle in bundles]

    def received(part: int) -> "tf.Tensor":
        lengths = np.array([bundle[part] for bundle in bundles], np.int32)
        words = [bundle[at[part] : at[part + 1]] for bundle, at in zip(bundles, starts, strict=True)]
        return tf.constant(np.concatenate([lengths, *words]))

    def summed(part: int, bundle: "tf.Tensor") -> tuple[Any, "tf.Tensor"]:
        merged = backend.merge(bundle, part, thresholds, header[:2])
        return merged, backend.encode_sum(merged, part, tf.constant(0, tf.int64), header)

    own = [received(part) for part in range(ranks)]
    parts = [summed(part, bundle) for part, bundle in enumerate(own)]
    sums = [message for _, message in parts]
    first = parts[0][0]
    read = backend.read_sums(sums, first, thresholds, header[:2])
    encode = cpu_seconds(lambda: backend.encode(updates[0], header))
    merge = statistics.median(cpu_seconds(lambda part=part: summed(part, own[part])) for part in range(min(ranks, 16)))
    reading = cpu_seconds(lambda: backend.read_sums(sums, first, thresholds, header[:2]))
    to_parts = (_mean_words(own) - ranks) * (ranks - 1) / ranks
    of_sums = _mean_words(sums) * (ranks - 1)
    row = {
        "bytes": 4 * (to_parts + of_sums) / spec.layout.size,
        "cpu_ms": 1e3 * (encode + merge + reading),
        "merging_ms": 1e3 * merge,
    }
    return row, read.sum.numpy()


def bench(arguments: argparse.Namespace) -> Iterator[Row]:
    """Gives each row as soon as there is one."""
    from tfscale.compression.backends.base import Spec
    from tfscale.compression.codecs.smallest import Smallest

    most = max(arguments.ranks)
    gradients = Gradients()
    spec = Spec(
        layout=gradients.layout,
        min_size=0,
        momentum=0.0,
        nesterov=False,
        masking=False,
        levels=1,
        codes=Smallest().codes,
        scale=1.0,
    )
    updates, thresholds = updates_of(gradients, spec, most, arguments.density)
    for ranks in arguments.ranks:
        some = updates[:ranks]
        (one, total), (other, same) = gathered(spec, some, thresholds), divided(spec, some, thresholds)
        if total.tobytes() != same.tobytes():
            sys.exit(f"bench_scale: the sums of {ranks} replicas differ")
        sent = sum(update.sent.shape[0] for update in some) / (spec.layout.size * ranks)
        yield {
            "ranks": ranks,
            "density": float(f"{sent:.3g}"),
            **{f"gathered_{name}": float(f"{value:.4g}") for name, value in one.items()},
            **{f"divided_{name}": float(f"{value:.4g}") for name, value in other.items()},
            "ring_bytes": float(f"{8 * (ranks - 1) / ranks:.4g}"),
        }


def main() -> int:
    """Runs the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", nargs="+", type=int, default=[2, 4, 8, 16, 32, 64, 256, 1024])
    parser.add_argument("--density", type=float, default=0.001)
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    arguments = parser.parse_args()
    return collected(bench(arguments), arguments.json, bench_name="bench_scale", title="messages by replicas")[1]


if __name__ == "__main__":
    sys.exit(main())
