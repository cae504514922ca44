"""Writes one shard of an export: reads the examples in the graph, several batches ahead, and encodes them."""

import hashlib
import os
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfscale import cores
from tfscale.data import manifest as manifests
from tfscale.data.base import Examples, Source
from tfscale.data.manifest import File
from tfscale.data.record_layout import WEIGHT, Encoding, Feature, Layout
from tfscale.data.records import framed
from tfscale.data.unreadable import first_unreadable
from tfscale.errors import RunError, UserError, informative_line
from tfscale.specs import leaves

TEMPORARY = ".tmp"
"""Ending of a shard that is not complete."""

_CHUNK_BYTES = 1 << 24
"""Bytes of the tensors that are read at a time."""

_unconverted = tf.autograph.experimental.do_not_convert


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A shard to write: examples `start` to `stop` of a split."""

    name: str
    split: str
    start: int
    stop: int


def example_bytes(layout: Layout) -> int:
    """Returns the bytes of the tensors of one example."""
    return sum(int(np.prod(each.shape, dtype=np.int64)) * tf.as_dtype(each.dtype).size for each in layout.features)


def write(source: Source, shard: Shard, folder: Path, layout: Layout) -> File:
    """Writes a shard as a whole or not at all, and returns its entry in the manifest.

    Raises:
        UserError: An example cannot be read. RunError: The source has changed. OSError: The disk is full.
    """
    temporary, digest, size, count = folder / f"{shard.name}{TEMPORARY}", hashlib.sha256(), 0, 0
    filled = {each.key for each, fill in zip(leaves(layout.x).values(), _fills(source), strict=True) if fill}
    not_finite = None
    with temporary.open("wb") as stream:
        for tensors in _read(source.examples[manifests.SPLITS[shard.split]], shard, layout):
            for row in range(len(next(iter(tensors.values())))):
                example = {key: part[row] for key, part in tensors.items()}
                record = framed(_serialized(example, layout))
                stream.write(record)
                digest.update(record)
                size, count = size + len(record), count + 1
                wrong = not_finite or _not_finite(example, leaves(layout.x).values(), filled)
                not_finite = not_finite or (wrong and f"{wrong} in record {count} of {shard.name}")
        stream.flush()
        os.fsync(stream.fileno())
    if count != shard.stop - shard.start:
        raise RunError(f"{shard.name} got {count:,} examples of {shard.stop - shard.start:,}; the source has changed")
    temporary.rename(folder / shard.name)
    return File(name=shard.name, examples=count, bytes=size, sha256=digest.hexdigest(), not_finite=not_finite)


def _fills(source: Source) -> list[bool]:
    return [each.fill is not None for each in leaves(source.normalizers).values()]


def _not_finite(example: Mapping[str, np.ndarray], inputs: Iterable[Feature], filled: Container[str]) -> str | None:
    for each in inputs:
        values = example[each.key]
        if each.encoding in (Encoding.FLOAT, Encoding.RAW) and each.key not in filled and not np.isfinite(values).all():
            return f"{each.key} is {values[~np.isfinite(values)].reshape(-1)[0]}"
    return None


def _read(examples: Examples, shard: Shard, layout: Layout) -> Iterator[dict[str, np.ndarray]]:
    """Yields the tensors of a shard's examples by key, [b, ...] each; images are encoded already.

    Raises:
        UserError: An example cannot be read; it is named.
    """
    targets = {} if layout.y is None else leaves(layout.y)

    def read(indices: tf.Tensor) -> dict[str, tf.Tensor]:
        x, y, weight = examples.read(indices)
        tensors = {each.key: leaves(x)[name] for name, each in leaves(layout.x).items()}
        tensors |= {each.key: leaves(y)[name] for name, each in targets.items()}
        tensors |= {WEIGHT: weight} if layout.weighted else {}
        for each in layout.features:
            if each.encoding is Encoding.PNG:
                tensors[each.key] = tf.map_fn(tf.io.encode_png, tensors[each.key], fn_output_signature=tf.string)
        return tensors

    rows = max(1, min(1024, _CHUNK_BYTES // example_bytes(layout)))
    batches = tf.data.Dataset.range(shard.start, shard.stop).batch(rows)
    batches = batches.map(_unconverted(read), num_parallel_calls=cores.count(), deterministic=True).prefetch(2)
    options = tf.data.Options()
    options.autotune.enabled = False
    try:
        for tensors in batches.with_options(options):
            yield {key: part.numpy() for key, part in tensors.items()}
    except tf.errors.OpError as error:
        named = first_unreadable(examples, range(shard.start, shard.stop))
        raise UserError(f"data: {named or informative_line(error)}") from None


def _serialized(example: Mapping[str, np.ndarray], layout: Layout) -> bytes:
    made = {each.key: _encoded(example[each.key], each) for each in layout.features}
    return tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString(deterministic=True)


def _encoded(values: np.ndarray, feature: Feature) -> tf.train.Feature:
    if feature.encoding is Encoding.FLOAT:
        return tf.train.Feature(float_list=tf.train.FloatList(value=values.reshape(-1)))
    if feature.encoding is Encoding.INT:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values.reshape(-1).astype(np.int64)))
    little = values if feature.encoding is Encoding.PNG else values.astype(values.dtype.newbyteorder("<")).tobytes()
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[little]))
