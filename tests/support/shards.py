"""TFRecord files for tests: exported ones, and ones that other programs write."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfscale.data import normalize
from tfscale.data.arrays import source_of
from tfscale.data.base import Arrays, Data, Shard, Source, Split
from tfscale.data.export import export
from tfscale.data.pipeline import IndexedData
from tfscale.data.sources import tfrecord

NONE = dict.fromkeys(("validation_files", "test_files", "label", "features", "size"))


def shards(source: Source, folder: Path, *, size: int | None = None) -> Path:
    """Exports a source; returns the folder."""
    export(source, folder, shard_examples=size)
    return folder


def read(files: Path | str, **changes: object) -> Source:
    """Checks and reads files, as `data=tfrecord` does."""
    values = {**NONE, "on_error": "error", **changes}
    tfrecord.check(files=str(files), **values)  # pyright: ignore[reportArgumentType]
    return tfrecord.tfrecord(files=str(files), **values)  # pyright: ignore[reportArgumentType]


def feature(value: Sequence[float] | Sequence[int] | Sequence[bytes] | np.ndarray) -> tf.train.Feature:
    """Returns a feature of the kind of its first value."""
    values = list(value)
    if values and isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if values and isinstance(values[0], int | np.integer):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def write(path: Path, examples: Sequence[Mapping[str, Sequence[float] | Sequence[int] | Sequence[bytes]]]) -> Path:
    """Writes a file by TensorFlow's own writer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for each in examples:
            made = {key: feature(value) for key, value in each.items()}
            writer.write(tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString())
    return path


def everything(source: Source, split: Split = Split.TRAIN) -> list[np.ndarray]:
    """Returns all tensors of a split, x, y and weight, [N, ...] each."""
    examples = source.examples[split]
    return [part.numpy() for part in tf.nest.flatten(examples.read(tf.range(len(examples), dtype=tf.int64)))]


def require_same(one: Source, other: Source) -> None:
    """Asserts that two sources have the same examples, in values, dtypes and order, and the same preparation."""
    assert one.spec == other.spec
    assert {split: len(each) for split, each in one.examples.items()} == {
        split: len(each) for split, each in other.examples.items()
    }
    for split in one.examples:
        for a, b in zip(everything(one, split), everything(other, split), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def batches(data: Data, shard: Shard, *, batch: int, count: int, start: int = 0) -> list[list[np.ndarray]]:
    """Returns the tensors of some training steps."""
    feed = iter(data.train(shard, batch=batch, seed=3, start=start, prefetch=2))
    return [[part.numpy() for part in tf.nest.flatten(next(feed))] for _ in range(count)]


def require_same_batches(one: Source, other: Source) -> None:
    """Asserts that the steps of two epochs and the evaluation are the same."""
    first, second = IndexedData(one), IndexedData(other)
    steps = 2 * -(-len(one.examples[Split.TRAIN]) // 14) + 1
    for rank in range(2):
        got = [batches(data, Shard(rank, 2), batch=7, count=steps) for data in (first, second)]
        for a, b in zip(*got, strict=True):
            for part, wanted in zip(a, b, strict=True):
                np.testing.assert_array_equal(part, wanted)


def mixed(*, examples: int = 40) -> Source:
    """Returns a source with nested inputs and targets, images, class names, weights, all splits and normalizers."""
    draw = np.random.default_rng(0)

    def x(count: int) -> dict[str, np.ndarray]:
        images = draw.integers(0, 256, (count, 4, 5, 3)).astype(np.uint8)
        return {"left": draw.standard_normal((count, 3)).astype(np.float32), "image": images}

    def y(count: int) -> dict[str, np.ndarray]:
        return {"kind": np.asarray(["a", "b"])[np.arange(count) % 2], "size": draw.standard_normal((count, 2))}

    arrays = Arrays(
        x(examples),
        y(examples),
        x(7),
        y(7),
        x_validation=x(9),
        y_validation=y(9),
        weight=draw.uniform(1, 2, examples),
    )
    return normalize.fit(source_of(arrays), "standardize", fill_missing=False)


def contents(folder: Path) -> dict[str, bytes]:
    """Returns the bytes of each file of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
