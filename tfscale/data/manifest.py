"""manifest.json of exported shards: everything about them that is not in the records; no TensorFlow.

It is written last, so shards with a manifest are complete. It has a checksum of its own, as a digit that changes in a
normalizer would change every input without a word.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from tfscale import atomic_file, user_paths
from tfscale.data.base import Normalizer, Source, Split
from tfscale.data.record_layout import Encoding, Feature, Layout
from tfscale.data.saved_specs import Nesting, Part, SavedTensor, Scaling, nested, nesting_of, renest, scaling
from tfscale.errors import UserError
from tfscale.specs import ArraySpec, ElementSpec, Nested, leaves

NAME = "manifest.json"
PARTIAL = "manifest.partial.json"
"""File of an export that has not ended."""

VERSION = 1
SPLITS: Mapping[str, Split] = {"train": Split.TRAIN, "validation": Split.VALIDATION, "test": Split.TEST}
"""Name of a split in the manifest and in the names of files."""


class Tensor(SavedTensor):
    """One tensor of an example, with the fields of `Feature`."""

    key: str
    encoding: Encoding
    values: str


class Tensors(Part):
    """Inputs or targets, and their nesting."""

    nesting: Nesting
    parts: list[Tensor]


class File(Part):
    """One shard; `not_finite` is as in `Source`."""

    name: str
    examples: int
    bytes: int
    sha256: str
    not_finite: str | None


class Manifest(Part):
    """Shards of one data set."""

    format: Literal["tfscale"] = "tfscale"
    version: Literal[1] = VERSION
    source: str
    x: Tensors
    y: Tensors | None
    weighted: bool
    normalizers: list[Scaling]
    skipped: int
    warnings: tuple[str, ...]
    splits: dict[Literal["train", "validation", "test"], list[File]]

    @property
    def sha256(self) -> str:
        """sha256 of the content."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    @property
    def files(self) -> Sequence[File]:
        """All shards."""
        return [file for files in self.splits.values() for file in files]

    @property
    def not_finite(self) -> str | None:
        """Clause about the first input that is NaN or infinite; see `Source`."""
        return next((file.not_finite for file in self.files if file.not_finite), None)

    @property
    def layout(self) -> Layout:
        """The features of a record."""
        x, y = self._described(_feature)
        return Layout(x=x, y=y, weighted=self.weighted)

    @property
    def spec(self) -> ElementSpec:
        """One example."""
        x, y = self._described(lambda part: part.spec)
        return ElementSpec(x=x, y=y, weighted=self.weighted)

    def _described(self, function: Callable[[Any], Any]) -> tuple[Nested[Any], Nested[Any] | None]:
        """Applies a function to each tensor of x and y; None in place of y if there are no targets."""
        x = nested(self.x.nesting, self.x.parts, function)
        return x, None if self.y is None else nested(self.y.nesting, self.y.parts, function)

    @property
    def input_normalizers(self) -> Nested[Normalizer]:
        """The normalizers that were fitted before the export."""
        return renest(self.x.nesting, self.x.parts, [each.normalizer for each in self.normalizers])


def _feature(part: Tensor) -> Feature:
    return Feature(key=part.key, shape=part.shape, dtype=part.values, encoding=part.encoding)


def _tensors(specs: Nested[ArraySpec], features: Nested[Feature]) -> Tensors:
    parts = [
        Tensor(
            name=name,
            key=feature.key,
            encoding=feature.encoding,
            shape=spec.shape,
            dtype=spec.dtype,
            values=feature.dtype,
            categories=spec.categories,
            names=spec.names,
            examples=spec.examples,
            one_hot=spec.one_hot,
        )
        for (name, spec), feature in zip(leaves(specs).items(), leaves(features).values(), strict=True)
    ]
    return Tensors(nesting=nesting_of(specs), parts=parts)


def described(source: Source, layout: Layout) -> Manifest:
    """Returns the manifest of a source, without files."""
    return Manifest(
        source=source.digest,
        x=_tensors(source.spec.x, layout.x),
        y=None if source.spec.y is None or layout.y is None else _tensors(source.spec.y, layout.y),
        weighted=layout.weighted,
        normalizers=[scaling(each) for each in leaves(source.normalizers).values()],
        skipped=source.skipped,
        warnings=source.warnings,
        splits={},
    )


def write(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest of a folder as a whole or not at all."""
    content = {**manifest.model_dump(mode="json"), "sha256": manifest.sha256}
    atomic_file.replace(folder / NAME, json.dumps(content, indent=1) + "\n")


def read(folder: Path) -> Manifest | None:
    """Returns the manifest of a folder; None if it has none.

    Raises:
        UserError: It cannot be read, is damaged, or is of another version.
    """
    path = folder / NAME
    if not user_paths.is_file(path):
        return None
    try:
        content = json.loads(path.read_bytes())
        if isinstance(content, dict) and content.get("version", VERSION) != VERSION:
            raise UserError(f"{path} must have version {VERSION}, got {content['version']}; export the data again")
        checksum = content.pop("sha256")
        manifest = Manifest.model_validate(content)
    except OSError as error:
        raise user_paths.unreadable(path, error) from None
    except (ValueError, ValidationError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is not the manifest of an export, or is damaged; export the data again") from None
    if manifest.sha256 != checksum:
        raise UserError(f"{path} is damaged: its sha256 sum does not match; export the data again")
    return manifest
