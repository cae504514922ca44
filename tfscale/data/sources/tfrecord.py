"""Source for TFRecord files: shards that `tfscale data export` wrote, or files of others.

Shards of an export have a manifest, which says everything about them. Of the files of others the first record says
which features there are; all records are then read once at the start, as targets need it, and compared with the first.
"""

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tfscale import user_paths
from tfscale.data import manifest as manifests
from tfscale.data import records
from tfscale.data.base import Source, Split
from tfscale.data.manifest import File, Manifest
from tfscale.data.records import Records
from tfscale.errors import UserError


@dataclass(frozen=True, kw_only=True)
class _Found:
    """The files of each split, and the manifest beside them, if there is one."""

    files: Mapping[Split, Sequence[Path]]
    manifest: Manifest | None


def check(
    *,
    files: str | None,
    validation_files: str | None,
    test_files: str | None,
    label: str | None,
    features: list[str] | None,
    size: Sequence[int] | None,
    on_error: str,
) -> None:
    """Checks that the files exist, and compares their sizes with the manifest if there is one.

    Raises:
        UserError: A file is missing, unreadable, or of another size.
    """
    found = _found(files, validation_files, test_files, label, features, size)
    for path in (path for paths in found.files.values() for path in paths):
        user_paths.first_bytes(path, 1)  # names a file that may not be read
    if found.manifest is not None and on_error == "error":
        for split, each in found.files.items():
            for path, file in zip(each, _entries(found.manifest, split), strict=True):
                length = path.stat().st_size
                if length != file.bytes and (fault := records.index(path).fault) is not None:
                    raise UserError(f"{fault}; export the data again, or type data.on_error=skip")
                _compare(path, length, file.bytes, "bytes")


def _found(
    files: str | None,
    validation_files: str | None,
    test_files: str | None,
    label: str | None,
    features: Sequence[str] | None,
    size: Sequence[int] | None,
) -> _Found:
    if files is None:
        raise UserError("data.files must be a folder or a pattern of TFRecord files; type data.files=PATH")
    wanted = {Split.TRAIN: files, Split.VALIDATION: validation_files, Split.TEST: test_files}
    keys = {Split.TRAIN: "files", Split.VALIDATION: "validation_files", Split.TEST: "test_files"}
    paths = {split: _paths(f"data.{keys[split]}", each) for split, each in wanted.items() if each is not None}
    folders = {path.parent for path in paths[Split.TRAIN]}
    manifest = manifests.read(folders.pop()) if len(folders) == 1 else None
    if manifest is None:
        return _Found(files=paths, manifest=None)
    others = {"validation_files": validation_files, "test_files": test_files}
    for key, value in {**others, "label": label, "features": features, "size": size}.items():
        if value is not None:
            raise UserError(f"data.{key} must be null, as {files} has a {manifests.NAME}, got {value}; leave it out")
    return _Found(files=_of_manifest(files, paths[Split.TRAIN], manifest), manifest=manifest)


def _paths(key: str, pattern: str) -> list[Path]:
    root = user_paths.expanded(pattern)
    if user_paths.is_dir(root):
        matched = sorted(path for path in root.iterdir() if ".tfrecord" in path.name and path.suffix != ".tmp")
    else:
        matched = [Path(name) for name in sorted(glob.glob(str(root)))]
    matched = [path for path in matched if user_paths.is_file(path)]
    for folder in {root, *(path.parent for path in matched)}:
        if user_paths.is_file(folder / manifests.PARTIAL) and not user_paths.is_file(folder / manifests.NAME):
            raise UserError(f"{key}={pattern} holds an export that has not ended; type its command again")
    if not matched:
        raise UserError(f"{key} must be a folder or a pattern of TFRecord files, got {pattern}, where there are none")
    return matched


def _of_manifest(files: str, paths: Sequence[Path], manifest: Manifest) -> dict[Split, list[Path]]:
    known, own = {file.name for file in manifest.files}, {path.name for path in paths}
    for names, what in ((known - own, "are missing"), (own - known, "are not of the export")):
        if names:
            raise UserError(
                f"data.files={files} must be the files of its {manifests.NAME}, but {len(names)} {what}, such as "
                f"{min(names)}; type data.files={paths[0].parent}, or export the data again"
            )
    folder = paths[0].parent
    return {
        split: [folder / file.name for file in _entries(manifest, split)]
        for name, split in manifests.SPLITS.items()
        if name in manifest.splits
    }


def _entries(manifest: Manifest, split: Split) -> Sequence[File]:
    return next(files for name, files in manifest.splits.items() if manifests.SPLITS[name] is split)


def _compare(path: Path, got: int, wanted: int, noun: str) -> None:
    if got != wanted:
        raise UserError(
            f"{path} must have {wanted:,} {noun} by its {manifests.NAME}, got {got:,}; export the data again"
        )


def tfrecord(
    *,
    files: str,
    validation_files: str | None,
    test_files: str | None,
    label: str | None,
    features: list[str] | None,
    size: Sequence[int] | None,
    on_error: Literal["error", "skip"],
) -> Source:
    """Returns the examples of an export with its splits, or those of files of others.

    Raises:
        UserError: See `check`; a file is truncated or damaged; or a feature is unclear.
    """
    found = _found(files, validation_files, test_files, label, features, size)
    opened = {split: _open(split, found, skip=on_error == "skip") for split in found.files}
    if found.manifest is not None:
        return _exported(found.manifest, opened, skip=on_error == "skip")
    from tfscale.data.sources import tfrecord_features

    return tfrecord_features.source_of(
        {split: each.records for split, each in opened.items()},
        label=label,
        features=features,
        size=size,
        skip=on_error == "skip",
        skipped=sum(each.lost for each in opened.values()),
        warnings=tuple(warning for each in opened.values() for warning in each.warnings),
    )


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """The records of a split, the number of those that are lost with a damaged header, and warnings about them."""

    records: Records
    lost: int
    warnings: tuple[str, ...]


def _open(split: Split, found: _Found, *, skip: bool) -> _Opened:
    """Indexes the files of a split.

    Raises:
        UserError: A file is damaged and `skip` is false, or is not that of the manifest.
    """
    paths = found.files[split]
    indices = [records.index(path) for path in paths]
    faults = [each.fault for each in indices if each.fault is not None]
    if faults and not skip:
        raise UserError(*(f"{fault}; {records.ADVICE}" for fault in faults))
    lost = len(faults)
    if found.manifest is not None:
        lost = 0
        for path, each, file in zip(paths, indices, _entries(found.manifest, split), strict=True):
            count = len(each.offsets)
            if not skip or count > file.examples:
                _compare(path, count, file.examples, "examples")
            if not skip or count == file.examples:
                _compare(path, each.size, file.bytes, "bytes")
            lost += file.examples - count
    warnings = tuple(f"{fault}; what follows in the file is left out" for fault in faults)
    return _Opened(records=records.opened(paths, indices), lost=lost, warnings=warnings)


def _exported(manifest: Manifest, opened: Mapping[Split, _Opened], *, skip: bool) -> Source:
    from tfscale.data.record_examples import RecordExamples, readable

    kept = {split: each.records for split, each in opened.items()}
    skipped = sum(each.lost for each in opened.values())
    if skip:
        for split, each in opened.items():
            kept[split] = each.records.only(readable(each.records, manifest.layout))
            skipped += len(each.records) - len(kept[split])
    records.require_some(kept)
    return Source(
        spec=manifest.spec,
        examples={split: RecordExamples(each, manifest.layout) for split, each in kept.items()},
        digest=records.digest_of(kept, manifest.sha256),
        normalizers=manifest.input_normalizers,
        skipped=skipped,
        warnings=(*manifest.warnings, *(warning for each in opened.values() for warning in each.warnings)),
        not_finite=manifest.not_finite,
    )
