"""Examples in NumPy arrays: in memory, or memory-mapped and read in parts."""

import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import final

import numpy as np
import tensorflow as tf

from tfscale.data import array_specs, normalize
from tfscale.data.array_specs import Missing
from tfscale.data.base import Arrays, ArraysOf, Batch, Normalizer, Source, Split, is_mapped, no_column
from tfscale.data.preprocessing import Preprocessing
from tfscale.specs import ArraySpec, ElementSpec, Nested, leaves, map_parts


@final
class ArrayExamples:
    """Examples of arrays; implements `base.Examples`.

    Args:
        x: [N, ...] inputs.
        y: [N, ...] targets; None without.
        weight: [N] float32; None for 1.
        name: Index -> name of an example.
        column: Name -> column of the data, [N]; None without columns.
    """

    is_slow = False

    def __init__(
        self,
        x: ArraysOf,
        y: ArraysOf | None,
        weight: np.ndarray | None = None,
        name: Callable[[int], str] = "example {}".format,
        column: Callable[[str], np.ndarray] | None = None,
    ) -> None:
        self._x, self._y, self._weight, self._name, self._column = x, y, weight, name, column
        self._length = len(next(iter(leaves(x).values())))

    def __len__(self) -> int:
        """Returns the number of examples."""
        return self._length

    def read(self, indices: tf.Tensor) -> Batch:
        """Returns the examples of indices; see `base.Examples`."""
        x, y, weight = self._readers
        weights = tf.ones(tf.shape(indices)) if weight is None else weight(indices)
        targets = () if y is None else map_parts(lambda read: read(indices), y)
        return map_parts(lambda read: read(indices), x), targets, weights

    def name(self, index: int) -> str:
        """Returns the name of an example."""
        return self._name(index)

    def targets(self) -> ArraysOf | None:
        """Returns all targets, [N, ...]."""
        return self._y

    def column(self, name: str) -> np.ndarray:
        """Returns a column of the data, [N]; see `base.Examples`."""
        if self._column is None:
            raise no_column(name)
        return self._column(name)

    @cached_property
    def _readers(self) -> tuple[Nested[Callable], Nested[Callable] | None, Callable | None]:
        return (
            map_parts(_reader, self._x),
            None if self._y is None else map_parts(_reader, self._y),
            None if self._weight is None else _reader(self._weight),
        )


def _reader(array: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a graph function from indices [b] to rows [b, ...]."""
    if not is_mapped(array):
        with tf.init_scope(), tf.device("/CPU:0"):  # in host memory, once for all replicas of the process
            values = tf.constant(array)
        return lambda indices: tf.gather(values, indices)
    dtype = tf.as_dtype(array.dtype)

    def rows(indices: tf.Tensor) -> tf.Tensor:
        read = tf.numpy_function(lambda own: np.ascontiguousarray(array[own]), [indices], dtype, stateful=False)
        return tf.ensure_shape(read, [None, *array.shape[1:]])

    return rows


def source_of(arrays: Arrays, *, missing: Missing = "error", learned: Preprocessing | None = None) -> Source:
    """Returns the source that arrays are.

    Args:
        arrays: The examples.
        missing: Treatment of NaN in inputs; `error` refuses them here, and `normalize` fills them for `mean`.
        learned: Of the run that reads these data later; gives the class names.

    Raises:
        UserError: Dtypes, shapes, lengths or values are not those of `Arrays`; nothing is cast.
    """
    x, y = array_specs.parts(arrays)
    names = {split: partial(arrays.names, split) if arrays.names else "example {}".format for split in x}
    inputs = array_specs.input_specs(x, arrays, missing, names)
    targets, numbered = array_specs.target_specs(x, y, arrays.classes, learned)
    length = len(next(iter(leaves(x[Split.TRAIN]).values())))
    weight = None if arrays.weight is None else array_specs.weights(arrays.weight, length)
    scale, warnings = _scale(arrays, inputs)
    return Source(
        spec=ElementSpec(x=inputs, y=targets, weighted=weight is not None),
        examples={
            split: ArrayExamples(
                x[split],
                numbered.get(split),
                weight if split is Split.TRAIN else None,
                names[split],
                None if arrays.column is None else partial(arrays.column, split),
            )
            for split in x
        },
        digest=_digest(arrays, x, y, scale, targets),
        normalizers=map_parts(
            lambda spec: Normalizer(factor=scale) if spec.categories is None else Normalizer(), inputs
        ),
        skipped=arrays.skipped,
        warnings=(*arrays.warnings, *warnings),
        encoding=arrays.encoding,
    )


def _scale(arrays: Arrays, inputs: Nested[ArraySpec]) -> tuple[float, tuple[str, ...]]:
    """Returns the factor of the inputs: that of the arrays, or of their dtype."""
    if arrays.scale is not None:
        return arrays.scale, ()
    return normalize.automatic_scale(inputs)


def _digest(
    arrays: Arrays,
    x: Mapping[Split, ArraysOf],
    y: Mapping[Split, ArraysOf],
    scale: float,
    targets: Nested[ArraySpec] | None,
) -> str:
    classes = arrays.classes if not isinstance(targets, ArraySpec) or arrays.classes else targets.categories
    total = hashlib.sha256(repr((scale, classes, arrays.vocabulary)).encode())
    if arrays.vocabulary is not None and arrays.columns is not None:  # what the ids mean
        total.update(repr(arrays.columns).encode())
    for split in x:
        for parts in (x[split], y.get(split, ())):
            for array in leaves(parts).values() if not isinstance(parts, tuple) or parts else ():
                total.update(repr((array.dtype.str, array.shape)).encode())
                for _, rows in array_specs.chunks(array):
                    total.update(rows.data if rows.dtype.kind not in "UO" else repr(rows.tolist()).encode())
    if arrays.weight is not None:
        total.update(np.ascontiguousarray(arrays.weight).data)
    return total.hexdigest()
