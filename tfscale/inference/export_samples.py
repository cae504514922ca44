"""Raw examples that an exported model is tried on, and what the training pipeline makes of them.

They are drawn at random by the spec, so an export needs no data. The pipeline's own functions prepare them for the
trained model; the export must reach the same outputs by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfscale.data import normalize
from tfscale.data.base import Normalizer
from tfscale.data.encoding import Columns, Tokens
from tfscale.data.preprocessing import Preprocessing
from tfscale.data.sources import text
from tfscale.inference.serving import INPUT, input_names, narrow
from tfscale.specs import ArraySpec, Nested, leaves, renested

COUNT = 8
"""Examples."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Some examples.

    Attributes:
        raw: By the names of the exported model's inputs, [b, ...].
        prepared: As the pipeline gives them to the trained model.
    """

    raw: Mapping[str, np.ndarray]
    prepared: Nested[tf.Tensor]


def samples(learned: Preprocessing, *, takes_text: bool, wide: bool) -> Samples:
    """Returns the examples for a serving model; see `serving.serving_model`."""
    random, encoding, spec = np.random.default_rng(0), learned.encoding, learned.spec.x
    if takes_text and isinstance(encoding, Tokens) and isinstance(spec, ArraySpec):
        texts = _texts(random, encoding, spec)
        ids = text.rows(texts, learned)
        return Samples(raw={"text": np.asarray([each.decode() for each in texts])}, prepared=tf.constant(ids))
    if isinstance(encoding, Columns) and isinstance(spec, ArraySpec):
        raw, rows = _table(random, encoding, _normalizer(learned, ""))
        by_column = takes_text and any(encoding.categories.values())
        dtype = "float64" if wide else "float32"
        raw = {name: raw[column] for column, name in input_names(encoding).items()}
        return Samples(raw=raw if by_column else {INPUT: rows.astype(dtype)}, prepared=_prepared(learned, {"": rows}))
    drawn = {name: _drawn(random, part, _normalizer(learned, name)) for name, part in leaves(spec).items()}
    raw = {name or INPUT: part if wide else part.astype(narrow(str(part.dtype))) for name, part in drawn.items()}
    return Samples(raw=raw, prepared=_prepared(learned, drawn))  # of the values before they are rounded


def _normalizer(learned: Preprocessing, name: str) -> Normalizer:
    return leaves(learned.normalizers)[name]


def _prepared(learned: Preprocessing, raw: Mapping[str, np.ndarray]) -> Nested[tf.Tensor]:
    specs = leaves(learned.spec.x)
    parts = {
        name: normalize.prepared(tf.constant(part), specs[name], _normalizer(learned, name))
        for name, part in raw.items()
    }
    return renested(parts, learned.spec.x)


def _drawn(random: np.random.Generator, spec: ArraySpec, normalizer: Normalizer) -> np.ndarray:
    shape = (COUNT, *spec.shape)
    if spec.categories is not None:
        return random.integers(0, spec.categories, shape).astype(np.int32)
    kind = np.dtype(spec.dtype)
    if kind.kind in "iu":
        low, high = max(0, np.iinfo(kind).min), min(np.iinfo(kind).max, 255)
        values: Any = random.integers(low, high + 1, shape)
    elif kind.kind == "b":
        values = random.integers(0, 2, shape)
    else:
        values = _measurements(random, shape, normalizer)
    return values.astype(spec.dtype)


def _measurements(random: np.random.Generator, shape: tuple[int, ...], normalizer: Normalizer) -> np.ndarray:
    """Returns numbers of the size of the training examples', some of them missing where a normalizer fills them."""
    scale = 1.0 if normalizer.factor is None else 1 / np.where(np.equal(normalizer.factor, 0), 1, normalizer.factor)
    offset = 0.0 if normalizer.offset is None else normalizer.offset
    values = offset + random.standard_normal(shape) * scale
    if normalizer.fill is not None:
        values[random.random(shape) < 0.1] = np.nan
    return values


def _texts(random: np.random.Generator, encoding: Tokens, spec: ArraySpec) -> list[bytes]:
    """Returns texts of known and unknown tokens, shorter and longer than a row, one without any."""
    known = [each for each in (spec.names or ())[2:] if each.strip()] or ["a"]
    texts = [""]
    for _ in range(COUNT - 1):
        words = random.choice(known, random.integers(1, 2 * spec.shape[0])).tolist()
        words.insert(int(random.integers(0, len(words) + 1)), "\u00e6" if encoding.unit == "characters" else "Unkn0wn!")
        texts.append((" " if encoding.unit == "words" else "").join(words))
    return [each.encode() for each in texts]


def _table(
    random: np.random.Generator, encoding: Columns, normalizer: Normalizer
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Returns columns, and the rows of numbers that they are."""
    width = sum(1 if known is None else len(known) for known in encoding.categories.values())
    numbers = _measurements(random, (COUNT, width), normalizer)
    columns, rows, place = {}, np.zeros((COUNT, width)), 0
    for name, known in encoding.categories.items():
        if known is None:
            columns[name] = rows[:, place] = numbers[:, place]
            place += 1
        else:
            chosen = random.integers(0, len(known), COUNT)
            rows[np.arange(COUNT), place + chosen] = 1
            columns[name] = np.asarray(known)[chosen]
            place += len(known)
    return columns, rows
