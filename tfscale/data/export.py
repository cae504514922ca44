"""Writes the examples of a source to TFRecord shards, with a manifest.

Examples are written as the source gives them: decoded and resized, but neither normalized nor augmented. Normalizers
are in the manifest, so training can still choose others, and augmentation draws anew in every epoch.

A shard is written under a temporary name, synced and renamed, then listed in a partial manifest. An export that is
repeated after a kill keeps the listed shards whose sha256 sums match, and writes the others; the bytes are those of an
export without a kill.
"""

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf
from pydantic import BaseModel

from tfscale import atomic_file, user_paths
from tfscale.data import manifest as manifests
from tfscale.data.base import Source, Split
from tfscale.data.manifest import File, Manifest
from tfscale.data.record_layout import Layout, features_of
from tfscale.data.shard_writer import Shard, example_bytes, write
from tfscale.data.unreadable import first_unreadable
from tfscale.errors import RunError, UserError

SHARD_BYTES = 1 << 27
"""Bytes of the tensors of a shard, about, if nothing else is asked for."""

_LEFT = re.compile(r"(train|validation|test)-\d{5,}-of-\d{5,}\.tfrecord\.tmp|manifest(\.partial)?\.json\.\d+\.tmp")


def export(
    source: Source, folder: Path, *, shard_examples: int | None, report: Callable[[str], None] = lambda text: None
) -> Manifest:
    """Writes all examples of a source; examples in = examples out.

    Args:
        source: Its splits are written in their order.
        folder: New, empty, or of the same export, which is continued.
        shard_examples: Examples of each shard but the last of a split; None for about 128 MiB of tensors.
        report: Called with a line for each shard.

    Raises:
        UserError: The folder holds something else, a tensor cannot be written, or an example cannot be read.
        RunError: The disk is full, or cannot be written to.
    """
    layout = layout_of(source)
    bare = manifests.described(source, layout)
    size = shard_examples or max(1, SHARD_BYTES // example_bytes(layout))
    shards = list(planned(source, size))
    digest = hashlib.sha256(f"{bare.sha256} {shards}".encode()).hexdigest()
    try:
        with _locked(folder):
            return _write_all(source, folder, layout, bare, shards, digest, report)
    except OSError as error:
        raise RunError(f"to={folder} cannot be written to ({error.strerror}); type the command again") from None


def layout_of(source: Source) -> Layout:
    """Returns the layout that keeps every value of a source.

    Raises:
        UserError: A tensor holds no real numbers, or the first example cannot be read.
    """
    examples = source.examples[Split.TRAIN]
    try:
        x, y, _ = examples.read(tf.constant([0], tf.int64))
    except (tf.errors.OpError, UserError):
        raise UserError(f"data: {first_unreadable(examples, [0])}") from None
    arrays = tf.nest.map_structure(lambda part: part.numpy(), (x, y))
    return Layout(
        x=features_of("x", arrays[0]),
        y=None if source.spec.y is None else features_of("y", arrays[1]),
        weighted=source.spec.weighted,
    )


def planned(source: Source, size: int) -> Iterator[Shard]:
    """Yields the shards of a source, of exactly `size` examples but for the last of each split."""
    for name, split in manifests.SPLITS.items():
        total = len(source.examples[split]) if split in source.examples else 0
        count = -(-total // size)
        for number in range(count):
            yield Shard(
                name=f"{name}-{number:05}-of-{count:05}.tfrecord",
                split=name,
                start=number * size,
                stop=min((number + 1) * size, total),
            )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Makes the folder, and holds it against other exports.

    Raises:
        UserError: Another process exports to it.
    """
    if not user_paths.is_dir(folder) and folder.exists():
        raise UserError(f"to must be a folder, got {folder}; give another path")
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"to={folder} is being written by another export; wait for its end") from None
        yield
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_all(
    source: Source,
    folder: Path,
    layout: Layout,
    bare: Manifest,
    shards: Sequence[Shard],
    digest: str,
    report: Callable[[str], None],
) -> Manifest:
    kept = _kept(folder, shards, bare, digest)
    if kept is None:
        kept = {}
        _list(folder, digest, kept)  # marks the folder as ours before there is a shard
    done: dict[str, File] = {}
    for shard in shards:
        if shard.name in kept and _sha256(folder / shard.name) == kept[shard.name].sha256:
            done[shard.name] = kept[shard.name]
            report(f"{shard.name}: {done[shard.name].examples:,} examples, kept")
            continue
        done[shard.name] = write(source, shard, folder, layout)
        _list(folder, digest, {**kept, **done})
        report(f"{shard.name}: {done[shard.name].examples:,} examples, {done[shard.name].bytes:,} bytes")
    splits = {
        name: [done[shard.name].model_dump() for shard in shards if shard.split == name]
        for name in dict.fromkeys(shard.split for shard in shards)
    }
    _sync(folder)  # a manifest says that the shards are there
    manifest = Manifest.model_validate({**bare.model_dump(), "splits": splits})
    manifests.write(folder, manifest)
    (folder / manifests.PARTIAL).unlink(missing_ok=True)
    return manifest


def _sync(folder: Path) -> None:
    """Makes the renames in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _list(folder: Path, digest: str, files: Mapping[str, File]) -> None:
    """Writes the partial manifest: the shards that are complete."""
    content = {"digest": digest, "files": [file.model_dump() for file in files.values()]}
    atomic_file.replace(folder / manifests.PARTIAL, json.dumps(content, indent=1) + "\n")


def _kept(folder: Path, shards: Sequence[Shard], bare: Manifest, digest: str) -> dict[str, File] | None:
    """Returns the shards of this export that were listed before, by name; None for a new folder.

    Raises:
        UserError: The folder holds something else.
    """
    finished = manifests.read(folder)
    if finished is not None:
        wanted = {shard.name: shard.stop - shard.start for shard in shards}
        if finished.model_copy(update={"splits": {}}) != bare or wanted != {
            file.name: file.examples for file in finished.files
        }:
            raise UserError(f"to={folder} holds an export of other data or options; give another folder")
        return {file.name: file for file in finished.files}
    for path in folder.iterdir():
        if _LEFT.fullmatch(path.name):  # by a process that was killed
            path.unlink()
    found = {path.name for path in folder.iterdir()}
    if not found:
        return None
    others = sorted(found - {manifests.PARTIAL, *(shard.name for shard in shards)})
    if manifests.PARTIAL not in found or others:
        raise UserError(f"to={folder} must be a new or empty folder, got one with {(others or sorted(found))[0]}")
    partial = _partial(folder / manifests.PARTIAL)
    if partial.digest != digest:
        raise UserError(
            f"to={folder} holds a part of an export of other data or options; remove it, or give another folder"
        )
    return {file.name: file for file in partial.files}


class _Partial(BaseModel):
    digest: str
    files: list[File]


def _partial(path: Path) -> _Partial:
    try:
        return _Partial.model_validate(json.loads(path.read_bytes()))
    except ValueError:
        raise UserError(f"{path} is damaged; remove the folder, and export again") from None


def _sha256(path: Path) -> str | None:
    """Returns the sum of a file; None if there is none."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return None
