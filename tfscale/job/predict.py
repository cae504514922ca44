"""Predicts examples with a trained model: the part of `tfscale predict` that needs TensorFlow.

Processes share nothing but the folder: rank r of P predicts the shards r, r + P, r + 2 P. The model gets batches of one
size, the last one filled up, so that a prediction has the same bits at every number of processes.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import tensorflow as tf

from tfscale import devices
from tfscale.config.prediction import PredictionOptions
from tfscale.config.schemas.config import Config
from tfscale.data.base import Batch, Shard
from tfscale.data.splits import Subset
from tfscale.errors import RunError, UserError
from tfscale.inference.prediction_files import Columns, Plan, read_manifest
from tfscale.inference.trained import Trained
from tfscale.job.failure import fail
from tfscale.job.later_data import LaterData, later_data
from tfscale.job.trained import load
from tfscale.runs.run_directory import RunDirectory
from tfscale.specs import Nested, leaves
from tfscale.terminal import survive_write_errors
from tfscale.tracking.tables import person_console
from tfscale.world import World

BATCH = 256
"""Examples that the model gets at a time; changes no result."""

SHARD = 8192
"""Examples of a file, at most."""


def predict_run(config: Config, world: World, directory: RunDirectory, options: PredictionOptions) -> int:
    """Predicts as one rank of a job and returns the exit code."""
    survive_write_errors("stdout")
    try:
        if world.is_chief:
            directory.clear_failures()
        done = predict(config, world, directory, options)
        if world.is_chief:
            keys = "" if options.keys is None else f", keys {options.keys}"
            person_console().print(
                f"{options.to}: {done['examples']:,} predictions of {done['split']} examples in {len(done['files'])} "
                f"{options.format} file(s){keys}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
        return 0
    except (Exception, SystemExit, GeneratorExit) as error:  # noqa: BLE001 - recorded before the others end
        return fail(error, world, directory)


def predict(config: Config, world: World, directory: RunDirectory, options: PredictionOptions) -> Mapping[str, Any]:
    """Predicts this rank's shards, and waits for those of the others.

    Args:
        config: Of the run, perhaps with other data.
        world: This process among those of the job.
        directory: Of the run.
        options: Of the command.

    Returns:
        The manifest.

    Raises:
        UserError: The examples or the options do not fit the run, or the folder holds something else.
        RunError: An output is not finite, a file cannot be written, or another rank has stopped.
    """
    device = devices.claim(1, local_rank=world.local_rank, local_size=world.local_size)[0]
    console = person_console(quiet=not world.is_chief)

    def warn(text: str) -> None:
        console.print(f"warning: {text}", highlight=False, markup=False)

    with tf.device(device):
        trained = load(config, directory, options.checkpoint, warn)
    later = later_data(
        config, trained.preprocessing, directory, options.split, may_train=True, is_named=options.names_data
    )
    if later.built.skipped:
        warn(f"{later.built.skipped:,} examples cannot be read and are left out")
    columns = _Columns(trained, later, options)
    plan = Plan(
        folder=options.to,
        format=options.format,
        shards=-(-later.size // SHARD),
        identity={**_identity(trained, later, options), "keys_sha256": columns.keys_digest},
    )
    with plan.at_work() as finish:
        if read_manifest(plan.folder) is None:
            compute = _compute(trained, device, with_loss=options.loss)
            for number in range(world.rank, plan.shards, world.size):
                if not plan.is_sealed(number):
                    plan.write(number, columns.of_shard(number, plan.shards, compute))
        finish()
    found = read_manifest(plan.folder)
    if found is None:
        raise RunError(f"to={plan.folder} lacks predictions of another process; type the command again")
    if any(found.get(key) != value for key, value in plan.identity.items()):
        raise UserError(
            f"to={plan.folder} holds predictions of other examples or of another model; give another folder"
        )
    return found


def _identity(trained: Trained, later: LaterData, options: PredictionOptions) -> dict[str, Any]:
    """Returns what the predictions depend on."""
    return {
        "run": trained.name,
        "step": trained.step,
        "model": trained.digest,
        "data": later.built.data.digest,
        "contents": later.contents,
        "split": later.shown,
        "examples": later.size,
        **{name: value for name, value in asdict(options).items() if name in ("keys", "scores", "loss", "format")},
    }


Compute = Callable[[Batch], tuple[Nested[tf.Tensor], tf.Tensor]]
"""Batch -> outputs and losses, [b] each."""


def _compute(trained: Trained, device: str, *, with_loss: bool) -> Compute:
    @tf.function(autograph=False, reduce_retracing=True)
    def compute(x: Nested[tf.Tensor], y: Nested[tf.Tensor]) -> tuple[Nested[tf.Tensor], tf.Tensor]:
        with tf.device(device):
            outputs = trained.model(x, training=False)
            losses = trained.task.loss(trained.task.encode(x, y), outputs) if with_loss else tf.zeros([0])
            return outputs, losses

    return lambda batch: compute(batch[0], batch[1] if with_loss else ())


class _Columns:
    """Makes the columns of a shard.

    Args:
        trained: The model.
        later: The examples.
        options: Of the command.

    Raises:
        UserError: The keys are not unique, or there are no targets for the losses.
    """

    def __init__(self, trained: Trained, later: LaterData, options: PredictionOptions) -> None:
        self._trained, self._later, self._options = trained, later, options
        if options.loss and later.built.data.spec.y is None and trained.preprocessing.spec.y is not None:
            raise UserError("predict.loss=true must have targets, and the data have none; name them: data.label=COLUMN")
        self._keys = None if options.keys is None else _unique_keys(later, options.keys)

    @property
    def keys_digest(self) -> str | None:
        """sha256 of the keys; None without."""
        return None if self._keys is None else hashlib.sha256(repr(self._keys.tolist()).encode()).hexdigest()

    def of_shard(self, number: int, shards: int, compute: Compute) -> Columns:
        """Returns the columns of a shard, in the order of its examples."""
        later = self._later
        low, high = Shard(number, shards).bounds(later.size)
        batches = later.built.data.evaluate(later.split, Shard(number, shards), batch=BATCH)
        parts = [self._of_batch(batch, compute) for batch in batches]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        finite = [
            np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
            for values in columns.values()
            if values.dtype.kind == "f"
        ]
        for each in finite:
            if not each.all():
                first = low + int(np.argmin(each))
                raise RunError(f"the prediction of {self._name(first)} is not finite; check the example and the run")
        if self._options.keys in columns:
            raise UserError(
                f"predict.keys must have another name than {self._options.keys}, which is a column of the predictions; "
                "rename the column of the data"
            )
        keys = self._numbers(low, high) if self._keys is None else self._keys[low:high]
        return {self._options.keys or "index": keys, **columns}

    def _numbers(self, low: int, high: int) -> np.ndarray:
        """Returns the numbers of examples in the data that they were read from, before a split was held out."""
        later = self._later
        examples = None if later.source is None else later.source.examples[later.split]
        return examples.indices[low:high] if isinstance(examples, Subset) else np.arange(low, high)

    def _name(self, index: int) -> str:
        later = self._later
        return f"example {index}" if later.source is None else later.source.examples[later.split].name(index)

    def _of_batch(self, batch: Batch, compute: Compute) -> dict[str, np.ndarray]:
        count = len(batch[2])
        outputs, losses = compute(_filled_up(batch, BATCH - count))
        own = tf.nest.map_structure(lambda part: part.numpy()[:count], outputs)
        predictions = leaves(self._trained.task.decode(own))
        columns = {}
        for name, values in predictions.items():
            columns.update(_spread(f"{name}_" if name else "", "prediction", values, None))
        if self._options.scores:
            for name, values in leaves(own).items():
                names = self._class_names(name)
                columns.update(_spread(f"{name}_" if name else "", "score", values, names))
        if self._options.loss:
            columns["loss"] = losses.numpy()[:count]
        return columns

    def _class_names(self, output: str) -> tuple[str, ...] | None:
        spec = leaves(self._trained.preprocessing.spec.y or ()).get(output)
        return None if spec is None else spec.names


def _spread(prefix: str, what: str, values: np.ndarray, names: tuple[str, ...] | None) -> dict[str, np.ndarray]:
    """Returns a column for each number of an example, or one column for arrays."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
        if names is not None and len(names) == 2:  # a probability of the second class
            return {f"{prefix}{what}_{names[1]}": values}
    if values.ndim != 2:
        return {f"{prefix}{what}": values}
    labels = names if names is not None and len(names) == values.shape[1] else map(str, range(values.shape[1]))
    return {f"{prefix}{what}_{label}": values[:, index] for index, label in enumerate(labels)}


def _filled_up(batch: Batch, missing: int) -> Batch:
    """Returns a batch with copies of its last example behind it."""
    if not missing:
        return batch
    return tf.nest.map_structure(lambda part: tf.concat([part, tf.repeat(part[-1:], missing, axis=0)], axis=0), batch)


def _unique_keys(later: LaterData, name: str) -> np.ndarray:
    if later.source is None:
        raise UserError(f"predict.keys={name} must name a column, and the data have none; leave it out")
    examples = later.source.examples[later.split]
    keys = examples.column(name)
    if (keys.dtype.kind == "f" and np.isnan(keys).any()) or (keys.dtype.kind == "U" and (keys == "").any()):
        empty = int(np.argmax(np.isnan(keys) if keys.dtype.kind == "f" else keys == ""))
        raise UserError(f"predict.keys={name} must be there for each example, and is empty in {examples.name(empty)}")
    unique, counts = np.unique(keys, return_counts=True)
    if len(unique) < len(keys):
        twice = unique[int(np.argmax(counts > 1))]
        places = np.flatnonzero(keys == twice)[:2]
        where = " and ".join(examples.name(int(place)) for place in places)
        raise UserError(f"predict.keys={name} must be unique, got {twice} in {where}; choose another column")
    return keys
