"""Features of TFRecord files of others: kinds and lengths from the first record, with which all others are compared.

tf.train.Example says neither which features are inputs nor that a feature always has as many values, so nothing is
guessed: what is unclear is refused by name, and nothing is padded or cut.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from tfscale.data import labels, records
from tfscale.data.base import Normalizer, Source, Split
from tfscale.data.record_examples import RecordExamples, read_all, readable
from tfscale.data.record_layout import Encoding, Feature, Layout
from tfscale.data.records import Records
from tfscale.errors import UserError, informative_line
from tfscale.specs import ArraySpec, ElementSpec, Nested, leaves, map_parts

IMAGES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
"""First bytes of JPEG and PNG files."""

_KINDS = {Encoding.FLOAT: "float_list", Encoding.INT: "int64_list"}


def source_of(
    opened: Mapping[Split, Records],
    *,
    label: str | None,
    features: Sequence[str] | None,
    size: Sequence[int] | None,
    skip: bool,
    skipped: int,
    warnings: tuple[str, ...],
) -> Source:
    """Returns the examples of files without a manifest.

    Args:
        opened: Records of each split.
        label: Feature to predict; None without.
        features: Features that are inputs; None for all others.
        size: (height, width) of images; None for that of the first.
        skip: Whether records that cannot be read are left out.
        skipped: Number of records that are lost already.
        warnings: About the files.

    Raises:
        UserError: A feature is unclear, or a record is damaged or unlike the first.
    """
    records.require_some(opened)
    layout = _layout(opened[Split.TRAIN], label, features, size, skip=skip)
    kept = opened
    if skip:
        kept = {split: each.only(readable(each, layout)) for split, each in opened.items()}
        skipped += sum(len(opened[split]) - len(kept[split]) for split in opened)
        records.require_some(kept)
    columns = {split: _columns(each, layout, label) for split, each in kept.items()}
    target, numbered = _target(label, {split: each.labels for split, each in columns.items()})
    whole = any(each.encoding is Encoding.INT for each in leaves(layout.x).values())
    unscaled = "the inputs are int64 and are not scaled; type data.normalize=standardize"
    return Source(
        spec=ElementSpec(x=map_parts(lambda each: ArraySpec(shape=each.shape, dtype=each.dtype), layout.x), y=target),
        examples={
            split: RecordExamples(each, replace(layout, y=None), numbered.get(split)) for split, each in kept.items()
        },
        digest=records.digest_of(kept, (layout, label)),
        normalizers=map_parts(
            lambda each: Normalizer(factor=1 / 255 if each.encoding is Encoding.IMAGE else 1.0), layout.x
        ),
        skipped=skipped,
        warnings=(*warnings, *((unscaled,) if whole else ())),
        not_finite=next((each.not_finite for each in columns.values() if each.not_finite), None),
    )


def _layout(
    each: Records, label: str | None, features: Sequence[str] | None, size: Sequence[int] | None, *, skip: bool
) -> Layout:
    """Returns the layout that the first record has."""
    number, example = _first(each, skip=skip)
    name, present = each.name(number), example.features.feature
    if not present:
        raise UserError(f"{name} must be a tf.train.Example with features, got none; write the file again")
    wanted = {"label": [] if label is None else [label], "features": features or []}
    for key, names in wanted.items():
        for unknown in (one for one in names if one not in present):
            raise UserError(
                f"data.{key} must name features of {name} ({', '.join(sorted(present))}), got {unknown}; correct it"
            )
    inputs = [one for one in sorted(present) if one != label] if features is None else list(dict.fromkeys(features))
    if label in inputs:
        raise UserError(f"data.features must not have the label {label}, which is to be predicted; leave it out")
    if not inputs:
        raise UserError(f"data.features must name at least one feature of {name}, got none; name some")
    made = {one: _feature(one, present[one], name, size) for one in inputs}
    x: Nested[Feature] = next(iter(made.values())) if len(made) == 1 else made
    if size is not None and not any(one.encoding is Encoding.IMAGE for one in made.values()):
        raise UserError(f"data.size must be null, as {name} has no image among the inputs, got {size}; leave it out")
    y = None if label is None else _label(label, present[label], name)
    return Layout(x=x, y=y)


def _first(each: Records, *, skip: bool) -> tuple[int, tf.train.Example]:
    """Returns the number of the first record, or with `skip` of the first that can be read, and its example."""
    for number in range(len(each)):
        try:
            return number, _example(each, number)
        except UserError:
            if not skip:
                raise
    raise UserError("data.files must have training examples that can be read, got none; check the files")


def _example(each: Records, number: int) -> tf.train.Example:
    try:
        return tf.train.Example.FromString(each.read(number))
    except DecodeError:
        raise UserError(f"{each.name(number)} is not a tf.train.Example; {records.ADVICE}") from None


def _feature(key: str, found: tf.train.Feature, name: str, size: Sequence[int] | None) -> Feature:
    """Returns an input: numbers [n], or an image."""
    kind = found.WhichOneof("kind")
    count = 0 if kind is None else len(getattr(found, kind).value)
    if not count:
        raise UserError(
            f"data: feature {key} must have values in {name}, which says its kind and length, got none; leave it out "
            "by data.features"
        )
    if kind == "float_list":
        return Feature(key=key, shape=(count,), dtype="float32", encoding=Encoding.FLOAT)
    if kind == "int64_list":
        return Feature(key=key, shape=(count,), dtype="int64", encoding=Encoding.INT)
    content = found.bytes_list.value[0]
    if count > 1 or not content.startswith(IMAGES):
        raise UserError(
            f"data: feature {key} must be numbers or one JPEG or PNG image, got {count} of {len(content):,} bytes in "
            f"{name}; leave it out by data.features"
        )
    try:
        image = tf.io.decode_image(content, expand_animations=False)
    except tf.errors.OpError as error:
        raise UserError(
            f"{name} has an image {key} that cannot be read ({informative_line(error)}); write it again"
        ) from None
    height, width = size or image.shape[:2]
    channels = 1 if image.shape[2] == 1 else 3
    return Feature(key=key, shape=(int(height), int(width), channels), dtype="uint8", encoding=Encoding.IMAGE)


def _label(key: str, found: tf.train.Feature, name: str) -> Feature:
    """Returns a label: one number, a row of numbers, or the name of a class."""
    kind = found.WhichOneof("kind")
    count = 0 if kind is None else len(getattr(found, kind).value)
    if not count or (kind == "bytes_list" and (count > 1 or found.bytes_list.value[0].startswith(IMAGES))):
        raise UserError(
            f"data.label={key} must be numbers or the name of a class in {name}, got "
            f"{'no value' if not count else 'other bytes'}; choose another feature"
        )
    if kind == "bytes_list":
        return Feature(key=key, shape=(), dtype="str", encoding=Encoding.BYTES)
    shape = () if count == 1 else (count,)
    if kind == "float_list":
        return Feature(key=key, shape=shape, dtype="float32", encoding=Encoding.FLOAT)
    return Feature(key=key, shape=shape, dtype="int64", encoding=Encoding.INT)


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """Result of the pass over all records: labels [N, ...], and the first input that is not finite."""

    labels: np.ndarray | None
    not_finite: str | None


def _columns(each: Records, layout: Layout, label: str | None) -> _Columns:
    """Reads all records: their checksums, features and labels; images are not decoded here."""
    features = {
        one.key: replace(one, shape=(), encoding=Encoding.BYTES) if one.encoding is Encoding.IMAGE else one
        for one in layout.features
    }
    found, not_finite, start = [], None, 0
    try:
        for numbers, parts in read_all(each, features):
            start = numbers.stop
            for key, part in parts.items():
                if key == label:
                    found.append(_decoded(each, numbers, key, part))
                elif part.dtype.kind == "f" and not_finite is None:
                    not_finite = _first_not_finite(each, numbers, key, part)
    except tf.errors.OpError as error:
        raise _misfit(each, start, features, error) from None
    return _Columns(labels=np.concatenate(found) if found else None, not_finite=not_finite)


def _decoded(each: Records, numbers: range, key: str, part: np.ndarray) -> np.ndarray:
    """Returns labels, names of classes as text."""
    if part.dtype.kind != "O":
        return part
    texts = []
    for number, content in zip(numbers, part, strict=True):
        try:
            texts.append(content.decode())
        except UnicodeDecodeError:
            raise UserError(f"data: label {key} of {each.name(number)} must be UTF-8; write it again") from None
    return np.asarray(texts, np.str_)


def _first_not_finite(each: Records, numbers: range, key: str, part: np.ndarray) -> str | None:
    wrong = np.flatnonzero(~np.isfinite(part).reshape(len(part), -1).all(axis=1))
    if not len(wrong):
        return None
    values = part[wrong[0]].reshape(-1)
    return f"feature {key} is {values[~np.isfinite(values)][0]} in {each.name(numbers[int(wrong[0])])}"


def _misfit(each: Records, start: int, features: Mapping[str, Feature], error: tf.errors.OpError) -> UserError:
    """Returns the message about the first record from `start` on that is unlike the first."""
    for number in range(start, len(each)):
        present = _example(each, number).features.feature
        for key, feature in features.items():
            kind = present[key].WhichOneof("kind") if key in present else None
            wanted, count = _KINDS.get(feature.encoding, "bytes_list"), int(np.prod(feature.shape, dtype=np.int64))
            got = 0 if kind is None else len(getattr(present[key], kind).value)
            if kind != wanted or got != count:
                return UserError(
                    f"data: feature {key} must be {count} of {wanted} in every record, as in the first, got "
                    f"{'none' if not got else f'{got} of {kind}'} in {each.name(number)}; leave it out by "
                    "data.features, or type data.on_error=skip"
                )
    return UserError(f"data.files cannot be read: {informative_line(error)}; {records.ADVICE}")


def _target(
    label: str | None, found: Mapping[Split, np.ndarray | None]
) -> tuple[ArraySpec | None, Mapping[Split, np.ndarray]]:
    parts = {split: part for split, part in found.items() if part is not None}
    return (None, {}) if label is None else labels.described(f"label {label}", parts, None)
