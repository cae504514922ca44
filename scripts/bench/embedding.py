"""Milliseconds of a step with a large embedding, beside loops by hand that touch only the rows of a batch.

usage: python -m tfscale.scripts.bench.embedding [--rows 500000] [--width 128] [--batch 64] [--rounds 5] [--steps 3]

The gradient of an embedding has as many rows as a batch has ids. tfscale makes it dense, as a strategy exchanges one
vector. By hand it can stay sparse, and then plain SGD touches only these rows. An optimizer with momentum or Adam does
not: its slots change in every row at every step, in Keras as in tfscale, unless it is another, "lazy" optimizer. The
loops by hand show what a path for sparse gradients could gain with each. One replica and no exchange; in every round
each variant takes `--steps` steps, in turn; medians over the rounds.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tfscale.startup_noise import hidden_startup_noise
from tfscale.tracking.tables import person_console, results_table

if TYPE_CHECKING:  # arguments are read without TensorFlow
    import keras
    import numpy as np

IDS = 32
"""Ids of an example."""

OPTIMIZERS = ("sgd", "nesterov", "adam")
"""Options of the group optimizer."""


def pooled(*, rows: int, width: int) -> "keras.Model":
    """Returns the model: an embedding of ids, [b, IDS], their mean, and a dense layer.

    Args:
        rows: Number of different ids.
        width: Of an id's embedding.
    """
    import keras

    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((IDS,), dtype="int32"),
            layers.Embedding(rows, width),
            layers.GlobalAveragePooling1D(),
            layers.Dense(2, activation="softmax"),
        ]
    )


def by_hand(optimizer: str, ids: "np.ndarray", labels: "np.ndarray", *, rows: int, width: int) -> Callable[[], object]:
    """Returns a step of a loop whose gradient of the embedding stays sparse until the optimizer."""
    import keras
    import tensorflow as tf

    model = pooled(rows=rows, width=width)
    made = {
        "sgd": lambda: keras.optimizers.SGD(0.05),
        "nesterov": lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
        "adam": lambda: keras.optimizers.Adam(),
    }[optimizer]()
    made.build(model.trainable_variables)
    x, y = tf.constant(ids), tf.constant(labels)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            outputs = tf.convert_to_tensor(model(x, training=True))
            loss = -tf.reduce_mean(tf.math.log(tf.gather(outputs, y, axis=1, batch_dims=1)))
        gradients = tape.gradient(loss, [each.value for each in model.trainable_variables])
        made.apply(gradients, model.trainable_variables)
        return loss

    return lambda: float(step())


def by_tfscale(optimizer: str, file: Path, batch: int, *, rows: int, width: int) -> Callable[[], object]:
    """Returns a step of a job with one replica."""
    from tfscale.collectives.in_process import InProcess
    from tfscale.config import preflight
    from tfscale.config.targets import trust
    from tfscale.job.build import Connection, build
    from tfscale.training.loop import training_steps

    own = file.parent / "model"
    own.mkdir()
    (own / "pooled.yaml").write_text(f"_target_: {pooled.__module__}.pooled\nrows: {rows}\nwidth: {width}\n")
    words = (
        *(f"optimizer={optimizer}", "strategy=local", "strategy.replicas=1", f"train.batch={batch}", "data=npz"),
        *(f"data.file={file}", "data.normalize=none", "model=pooled", f"trust=[{pooled.__module__}]"),
    )
    config = preflight.check_job(preflight.preflight(words, config_dir=str(file.parent)), processes=1)
    trust(config.trust)
    connection = Connection(devices=("/CPU:0",), threads=0, collective=InProcess(replicas=1))
    job = build(config, connection)
    steps = training_steps(job.state, job.data, shards=1, batch=batch, seed=1, prefetch=4)
    return lambda: float(next(steps).losses[0])


def main() -> int:
    """Prints a row for each optimizer."""
    parser = argparse.ArgumentParser(
        prog="python -m tfscale.scripts.bench.embedding", description=(__doc__ or "").partition("\n")[0]
    )
    for name, value in {"rows": 500_000, "width": 128, "batch": 64, "rounds": 5, "steps": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS))
    given = parser.parse_args()
    with hidden_startup_noise():
        import numpy as np
    random = np.random.default_rng(0)
    ids = random.integers(0, given.rows, (given.batch, IDS)).astype(np.int32)
    labels = random.integers(0, 2, given.batch)
    rows = []
    for optimizer in given.optimizers:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "ids.npz"
            np.savez(file, x_train=ids, y_train=labels, x_test=ids[:2], y_test=labels[:2])
            size = {"rows": given.rows, "width": given.width}
            variants = {
                "by hand": by_hand(optimizer, ids, labels, **size),
                "tfscale": by_tfscale(optimizer, file, given.batch, **size),
            }
            rows.append({"optimizer": optimizer, **_measured(variants, given.rounds, given.steps)})
    results_table(person_console(), f"ms a step, an embedding of {given.rows:,} x {given.width}", rows)
    return 0


def _measured(variants: Mapping[str, Callable[[], object]], rounds: int, steps: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in variants}
    for round_number in range(rounds + 1):  # the first one compiles
        for name, step in variants.items():
            began = time.perf_counter()
            for _ in range(steps):
                step()
            if round_number:
                times[name].append(1e3 * (time.perf_counter() - began) / steps)
    ratios = [one / other for one, other in zip(times["tfscale"], times["by hand"], strict=True)]
    medians = {f"{name}, ms": statistics.median(each) for name, each in times.items()}
    return {**medians, "ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}


if __name__ == "__main__":
    sys.exit(main())
