"""Examples in TFRecord files: read by index, parsed and decoded in the graph."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import final

import numpy as np
import tensorflow as tf

from tfscale import cores
from tfscale.data import image_decoding
from tfscale.data.base import ArraysOf, Batch, no_column
from tfscale.data.record_layout import WEIGHT, Encoding, Feature, Layout
from tfscale.data.records import Records
from tfscale.specs import Nested, leaves, map_parts

ROWS = 256
"""Records that are read at a time in a pass over all of them."""


@final
class RecordExamples:
    """Examples of records; implements `base.Examples`.

    Args:
        records: One for each example.
        layout: Features of a record.
        targets: [N, ...] targets that were read before; None to read them from the records.
    """

    def __init__(self, records: Records, layout: Layout, targets: ArraysOf | None = None) -> None:
        self._records, self._layout, self._targets = records, layout, targets
        self.is_slow = any(each.encoding in (Encoding.PNG, Encoding.IMAGE) for each in layout.features)

    def __len__(self) -> int:
        """Returns the number of records."""
        return len(self._records)

    def read(self, indices: tf.Tensor) -> Batch:
        """Returns the examples of indices; see `base.Examples`.

        Raises:
            UserError: A record is damaged, eagerly; in a graph this is an OpError with the same message.
        """
        features = {each.key: each for each in self._layout.features}
        parts = parsed(_contents(self._records, indices), self._names(indices), features)
        x = map_parts(lambda feature: parts[feature.key], self._layout.x)
        weight = parts[WEIGHT] if self._layout.weighted else tf.ones(tf.shape(indices))
        if self._gathered is not None:
            return x, map_parts(lambda values: tf.gather(values, indices), self._gathered), weight
        return x, () if self._layout.y is None else map_parts(lambda each: parts[each.key], self._layout.y), weight

    def name(self, index: int) -> str:
        """Returns the number of a record and its file."""
        return self._records.name(index)

    def column(self, name: str) -> np.ndarray:
        """Raises UserError: there are no columns."""
        raise no_column(name)

    def targets(self) -> ArraysOf | None:
        """Returns all targets, [N, ...]; they are read at the first call."""
        return self._read_targets if self._targets is None else self._targets

    def _names(self, indices: tf.Tensor) -> tf.Tensor:
        """Returns the names of records [b], which are made without Python in a graph."""
        if tf.executing_eagerly():
            return tf.constant(self._records.names(indices.numpy()), tf.string)
        paths, files, numbers = self._places
        number = tf.strings.as_string(tf.gather(numbers, indices) + 1)
        return tf.strings.join(["record ", number, " of ", tf.gather(paths, tf.gather(files, indices))])

    @cached_property
    def _places(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        with tf.init_scope(), tf.device("/CPU:0"):
            paths, files, numbers = self._records.places()
            return tf.constant(paths), tf.constant(files), tf.constant(numbers)

    @cached_property
    def _read_targets(self) -> ArraysOf | None:
        if self._layout.y is None:
            return None
        features = {each.key: each for each in leaves(self._layout.y).values()}
        chunks = [parts for _, parts in read_all(self._records, features)]
        return map_parts(lambda each: np.concatenate([chunk[each.key] for chunk in chunks]), self._layout.y)

    @cached_property
    def _gathered(self) -> Nested[tf.Tensor] | None:
        if self._targets is None:
            return None
        with tf.init_scope(), tf.device("/CPU:0"):
            return map_parts(tf.constant, self._targets)


def _contents(records: Records, indices: tf.Tensor) -> tf.Tensor:
    """Returns the data of records, [b]."""
    if tf.executing_eagerly():  # the error is not wrapped
        return tf.constant(records.read_all(indices.numpy()), tf.string)

    def read(numbers: np.ndarray) -> np.ndarray:
        return np.asarray(records.read_all(numbers), object)

    return tf.ensure_shape(tf.numpy_function(read, [indices], tf.string, stateful=False), [None])


def parsed(data: tf.Tensor, names: tf.Tensor, features: Mapping[str, Feature]) -> dict[str, tf.Tensor]:
    """Returns the tensors [b, ...] of serialized examples [b].

    Raises:
        OpError: An example lacks a feature, or has another number of values of it.
    """
    wanted = {
        key: tf.io.FixedLenFeature(*_STORED.get(feature.encoding, lambda each: ((), tf.string))(feature))
        for key, feature in features.items()
    }
    found: dict[str, tf.Tensor] = tf.io.parse_example(data, wanted, example_names=names)  # pyright: ignore
    return {key: _decoded(found[key], feature) for key, feature in features.items()}


_STORED: Mapping[Encoding, Callable[[Feature], tuple[tuple[int, ...], tf.DType]]] = {
    Encoding.FLOAT: lambda feature: (feature.shape, tf.float32),
    Encoding.INT: lambda feature: (feature.shape, tf.int64),
}
"""Shape and dtype in tf.train.Example; the other encodings are one string."""


def _decoded(values: tf.Tensor, feature: Feature) -> tf.Tensor:
    if feature.encoding in (Encoding.FLOAT, Encoding.BYTES):
        return values
    if feature.encoding is Encoding.INT:
        return tf.cast(values, feature.dtype)
    if feature.encoding is Encoding.RAW:
        return _from_bytes(values, feature)
    signature = tf.TensorSpec(feature.shape, tf.uint8)
    decode = _png(feature)
    if feature.encoding is Encoding.IMAGE:
        decode = image_decoding.decoder(feature.shape[:2], crop=False, channels=feature.shape[2])
    return tf.map_fn(decode, values, fn_output_signature=signature)


def _png(feature: Feature) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda content: tf.ensure_shape(tf.io.decode_png(content, channels=feature.shape[2]), feature.shape)


def _from_bytes(values: tf.Tensor, feature: Feature) -> tf.Tensor:
    kind = tf.int64 if feature.dtype == "uint64" else tf.as_dtype(feature.dtype)  # decode_raw has no uint64
    flat = tf.io.decode_raw(values, kind, little_endian=True)
    shaped = tf.reshape(flat, [tf.size(values), *feature.shape])
    return tf.bitcast(shaped, tf.uint64) if feature.dtype == "uint64" else shaped


def read_all(records: Records, features: Mapping[str, Feature]) -> Iterator[tuple[range, dict[str, np.ndarray]]]:
    """Yields features of all records, [b, ...] each, with the numbers of the records.

    Raises:
        UserError: A record is damaged. OpError: A record has other features.
    """
    for start in range(0, len(records), ROWS):
        numbers = range(start, min(start + ROWS, len(records)))
        indices = tf.constant(numbers, tf.int64)
        parts = parsed(_contents(records, indices), tf.constant(records.names(indices.numpy())), features)
        yield numbers, {key: part.numpy() for key, part in parts.items()}


def readable(records: Records, layout: Layout) -> np.ndarray:
    """Returns the numbers of the records that can be read, [n] int64, after reading them all on all cores."""
    features = {each.key: each for each in layout.features}

    def read(indices: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        # The tensors are returned since TensorFlow removes operations whose results nobody uses, and their errors.
        return indices, parsed(_contents(records, indices), tf.constant([], tf.string), features)  # errors are ignored

    def kept(batches: tf.data.Dataset) -> np.ndarray:
        options = tf.data.Options()
        options.autotune.enabled = False
        sound = batches.map(read, num_parallel_calls=cores.count(), deterministic=True).ignore_errors()
        return np.asarray([number for batch, _ in sound.with_options(options) for number in batch.numpy()], np.int64)

    every = np.arange(len(records), dtype=np.int64)
    whole = kept(tf.data.Dataset.range(len(records)).batch(ROWS))
    doubtful = np.setdiff1d(every, whole)
    if not len(doubtful):
        return every
    return np.union1d(whole, kept(tf.data.Dataset.from_tensor_slices(doubtful).batch(1)))
