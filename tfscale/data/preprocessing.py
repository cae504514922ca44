"""The preprocessing that a run has learned from its training data, and its file in the run directory.

Data that come later, for prediction or another evaluation, are read with it: the same normalizers, tokens, categories
and class numbers, never new ones of their own. An export holds it, too. The file has a checksum, as a digit that
changes would change every prediction without a word.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ValidationError

from tfscale import atomic_file, user_paths
from tfscale.data.base import Data, Normalizer, Source
from tfscale.data.encoding import Columns, Encoding, Tokens
from tfscale.data.saved_specs import Nesting, Part, SavedTensor, Scaling, nested, nesting_of, renest, scaling
from tfscale.errors import UserError
from tfscale.specs import ArraySpec, ElementSpec, Nested, leaves, map_parts

NAME = "preprocessing.json"
"""Name of the file in a run directory."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The way from raw examples to what the model sees.

    Attributes:
        spec: Of one example.
        normalizers: Of each input.
        encoding: The way from texts or table rows to numbers; None where the source has numbers.
        digest: Of the source that it was learned from, before splits.
    """

    spec: ElementSpec
    normalizers: Nested[Normalizer]
    encoding: Encoding | None
    digest: str


class _Tensors(Part):
    nesting: Nesting
    parts: list[SavedTensor]


class _Document(Part):
    format: Literal["tfscale"] = "tfscale"
    version: Literal[1] = 1
    digest: str
    x: _Tensors
    y: _Tensors | None
    weighted: bool
    normalizers: list[Scaling]
    tokens: Literal["words", "characters"] | None
    columns: dict[str, tuple[str, ...] | None] | None

    @property
    def sha256(self) -> str:
        """sha256 of the content; the order of columns counts."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json")).encode()).hexdigest()


def of_source(source: Source, digest: str) -> Preprocessing:
    """Returns the preprocessing of a source with fitted normalizers.

    Args:
        source: The data.
        digest: Of the source before splits.
    """
    return Preprocessing(spec=source.spec, normalizers=source.normalizers, encoding=source.encoding, digest=digest)


def of_data(data: Data, normalizers: Nested[Normalizer] | None = None) -> Preprocessing:
    """Returns that of data which make their batches themselves.

    Args:
        data: The data.
        normalizers: Of each input; None for none.
    """
    none = map_parts(lambda _: Normalizer(), data.spec.x)
    return Preprocessing(spec=data.spec, normalizers=normalizers or none, encoding=None, digest=data.digest)


def is_none(learned: Preprocessing) -> bool:
    """Returns whether the model gets the numbers as they are."""
    normalizers = leaves(learned.normalizers).values()
    factors = [1.0 if each.factor is None else each.factor for each in normalizers]
    plain = all(each.offset is None and each.fill is None for each in normalizers)
    return learned.encoding is None and plain and all(np.all(np.equal(factor, 1)) for factor in factors)


def class_names(learned: Preprocessing | None, target: str = "") -> tuple[str, ...] | None:
    """Returns the names of a target's classes in a run; None where there is no run, no such target or no names.

    Args:
        learned: Of the run; None for training data, which give the names.
        target: Name of the target; "" for the only one.
    """
    spec = None if learned is None else leaves(learned.spec.y or ()).get(target)
    return None if spec is None or spec.categories is None else spec.names


def adopt(source: Source, learned: Preprocessing, where: str) -> Source:
    """Returns later data with the preprocessing of a run.

    Args:
        source: Read with the encoding and the class names of `learned`.
        learned: Of the run.
        where: The data, for messages.

    Raises:
        UserError: The inputs or targets are not of the kind that the run was trained on.
    """
    return replace(source, spec=adopted_spec(source.spec, learned, where), normalizers=learned.normalizers)


def adopted_spec(spec: ElementSpec, learned: Preprocessing, where: str) -> ElementSpec:
    """Returns the spec of later data as a run has it, without targets where they have none; raises like `adopt`."""
    _require_like("inputs", spec.x, learned.spec.x, where)
    y = None
    if spec.y is not None and learned.spec.y is not None:
        _require_like("targets", spec.y, learned.spec.y, where)
        y = learned.spec.y
    return replace(learned.spec, y=y, weighted=spec.weighted)


def _require_like(what: str, own: Nested[ArraySpec], wanted: Nested[ArraySpec], where: str) -> None:
    if nesting_of(own) != nesting_of(wanted) or leaves(own).keys() != leaves(wanted).keys():
        raise UserError(
            f"{where} must have the {what} that the run was trained on ({_listed(wanted)}), got {_listed(own)}; give "
            "the same"
        )
    for name, spec in leaves(wanted).items():
        got = leaves(own)[name]
        fault = _difference(got, spec, is_target=what == "targets")
        if fault is not None:
            label = f"{what}{f' {name}' if name else ''}"
            raise UserError(f"{where} must have {label} as the run was trained on ({spec}), got {fault}")


def _difference(own: ArraySpec, wanted: ArraySpec, *, is_target: bool) -> str | None:
    """Returns how a tensor differs from what a model was trained on, and what to do; None if it has that meaning."""
    if own.shape != wanted.shape:
        return f"{own}; give the same shape"
    if own.names != wanted.names and own.names is not None:
        return f"other {'classes' if is_target else 'columns'} ({', '.join(own.names[:6])}); give the same"
    if wanted.categories is not None and (own.categories is None or own.categories > wanted.categories):
        return f"{own}; give numbers below {wanted.categories}"
    if not is_target and wanted.categories is None and not _same_scale(own.dtype, wanted.dtype):
        return f"{own}; convert them, as {own.dtype} and {wanted.dtype} are scaled in different ways"
    return None


def _same_scale(own: str, wanted: str) -> bool:
    return own == wanted or (own.startswith("float") and wanted.startswith("float"))


def _listed(nested: Nested[ArraySpec]) -> str:
    return ", ".join(f"{name} {spec}".strip() for name, spec in leaves(nested).items())


def write(learned: Preprocessing, path: Path) -> None:
    """Writes it as a whole or not at all."""
    encoding = learned.encoding
    document = _Document(
        digest=learned.digest,
        x=_tensors(learned.spec.x),
        y=None if learned.spec.y is None else _tensors(learned.spec.y),
        weighted=learned.spec.weighted,
        normalizers=[scaling(each) for each in leaves(learned.normalizers).values()],
        tokens=encoding.unit if isinstance(encoding, Tokens) else None,
        columns=dict(encoding.categories) if isinstance(encoding, Columns) else None,
    )
    content = {**document.model_dump(mode="json"), "sha256": document.sha256}
    atomic_file.replace(path, json.dumps(content, indent=1) + "\n")


def read(path: Path) -> Preprocessing | None:
    """Returns what `write` has written; None if there is no file, as in runs from before it.

    Raises:
        UserError: It cannot be read or is damaged.
    """
    if not user_paths.is_file(path):
        return None
    try:
        content = json.loads(path.read_bytes())
        checksum = content.pop("sha256")
        document = _Document.model_validate(content)
    except OSError as error:
        raise user_paths.unreadable(path, error) from None
    except (ValueError, ValidationError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is damaged; copy it from a backup, or train again") from None
    if document.sha256 != checksum:
        raise UserError(f"{path} is damaged: its sha256 sum does not match; copy it from a backup, or train again")
    return _learned(document)


def _learned(document: _Document) -> Preprocessing:
    x, y = document.x, document.y
    encoding: Encoding | None = None
    if document.tokens is not None:
        encoding = Tokens(unit=document.tokens)
    elif document.columns is not None:
        encoding = Columns(categories=document.columns)
    return Preprocessing(
        spec=ElementSpec(
            x=nested(x.nesting, x.parts, lambda part: part.spec),
            y=None if y is None else nested(y.nesting, y.parts, lambda part: part.spec),
            weighted=document.weighted,
        ),
        normalizers=renest(x.nesting, x.parts, [each.normalizer for each in document.normalizers]),
        encoding=encoding,
        digest=document.digest,
    )


def _tensors(specs: Nested[ArraySpec]) -> _Tensors:
    parts = [
        SavedTensor(
            name=name,
            shape=spec.shape,
            dtype=spec.dtype,
            categories=spec.categories,
            names=spec.names,
            examples=spec.examples,
            one_hot=spec.one_hot,
        )
        for name, spec in leaves(specs).items()
    ]
    return _Tensors(nesting=nesting_of(specs), parts=parts)
