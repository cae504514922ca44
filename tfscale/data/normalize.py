"""Fits normalizers of inputs, for each column or channel, on the training examples alone.

The statistics are scikit-learn's, which adds them up over parts of the examples, so no pass needs all of them in
memory. A column that never changes has the factor 1.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import numpy as np
import tensorflow as tf

from tfscale.data.base import Examples, Normalizer, Source, Split
from tfscale.data.unreadable import first_unreadable
from tfscale.errors import UserError
from tfscale.specs import ArraySpec, Nested, leaves, map_parts, renested

Method: TypeAlias = Literal["auto", "none", "standardize", "min_max"]
_ROWS = 1024
"""Examples that are read at a time."""


def fit(source: Source, method: Method, *, fill_missing: bool) -> Source:
    """Returns the source with fitted normalizers.

    Args:
        source: Its training examples are read once if there is something to fit.
        method: `standardize` to mean 0 and standard deviation 1, `min_max` to 0..1, `none`, or `auto` for the source's
            own, which is 1/255 for bytes.
        fill_missing: Whether NaN becomes the mean of its column.

    Raises:
        UserError: No input has measurements.
    """
    own = source.normalizers if method == "auto" else map_parts(lambda _: Normalizer(), source.spec.x)
    if method in ("auto", "none") and not fill_missing:
        return replace(source, normalizers=own)
    measured = {name: spec for name, spec in leaves(source.spec.x).items() if spec.categories is None}
    if not measured:
        raise UserError(f"data.normalize={method} must have measurements as inputs, and these are ids; leave it out")
    scalers = _scalers(source.examples[Split.TRAIN], measured, method)
    found = {
        name: _normalizer(normalizer, *scalers[name], method, fill_missing) if name in scalers else normalizer
        for name, normalizer in leaves(own).items()
    }
    return replace(source, normalizers=renested(found, source.spec.x))


def _scalers(examples: Examples, measured: Mapping[str, ArraySpec], method: Method) -> dict[str, tuple[Any, Any]]:
    """Returns a fitted StandardScaler for each input, and the fitted scaler of the method."""
    from sklearn.preprocessing import MinMaxScaler, StandardScaler  # takes a second, and only this needs it

    fits = {name: (StandardScaler(), MinMaxScaler()) for name in measured}
    for parts in _chunks(examples):
        for name, (standard, extremes) in fits.items():
            rows = parts[name].reshape(-1, parts[name].shape[-1]).astype(np.float64)
            standard.partial_fit(rows)
            if method == "min_max":
                extremes.partial_fit(rows)
    return fits


def _chunks(examples: Examples) -> Iterator[dict[str, np.ndarray]]:
    read = tf.function(lambda indices: examples.read(indices)[0], autograph=False, reduce_retracing=True)
    for start in range(0, len(examples), _ROWS):
        stop = min(start + _ROWS, len(examples))
        try:
            inputs = read(tf.range(start, stop, dtype=tf.int64))
        except tf.errors.OpError as error:
            named = first_unreadable(examples, range(start, stop))
            if named is None:
                raise
            raise UserError(f"data: {named}") from error
        yield {name: part.numpy() for name, part in leaves(inputs).items()}


def _normalizer(own: Normalizer, standard: Any, extremes: Any, method: Method, fill_missing: bool) -> Normalizer:
    fill = np.nan_to_num(standard.mean_) if fill_missing else None
    if method == "standardize":
        return Normalizer(offset=np.nan_to_num(standard.mean_), factor=1 / standard.scale_, fill=fill)
    if method == "min_max":
        return Normalizer(offset=np.nan_to_num(extremes.data_min_), factor=extremes.scale_, fill=fill)
    return replace(own, fill=fill)


def applied(normalizer: Normalizer, x: tf.Tensor) -> tf.Tensor:
    """Returns an input as the model gets it, float32; 64-bit values are normalized before they are rounded."""
    wide = tf.float64 if x.dtype.size == 8 else tf.float32
    values = tf.cast(x, wide)
    if normalizer.fill is not None:
        values = tf.where(tf.math.is_nan(values), tf.constant(normalizer.fill, wide), values)
    if normalizer.offset is not None:
        values -= tf.constant(normalizer.offset, wide)
    if normalizer.factor is not None:
        values *= tf.constant(normalizer.factor, wide)
    return tf.cast(values, tf.float32)


def prepared(x: tf.Tensor, spec: ArraySpec, normalizer: Normalizer) -> tf.Tensor:
    """Returns an input as the model gets it: ids as int32, measurements as float32."""
    return tf.cast(x, tf.int32) if spec.categories is not None else applied(normalizer, x)


def automatic_scale(inputs: Nested[ArraySpec]) -> tuple[float, tuple[str, ...]]:
    """Returns the factor that the dtypes of inputs mean, and warnings: 1/255 for bytes."""
    kinds = {part.dtype for part in leaves(inputs).values() if part.categories is None}
    if kinds == {"uint8"}:
        return 1 / 255, ()
    if kinds == {"uint16"}:
        return 1 / 65535, ()
    whole = sorted(kind for kind in kinds if kind not in ("bool", "float16", "float32", "float64"))
    if not whole:
        return 1.0, ()
    return 1.0, (f"the inputs are {', '.join(whole)} and are not scaled; type data.normalize=standardize",)
