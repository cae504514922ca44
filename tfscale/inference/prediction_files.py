"""Files of predictions: shards of fixed examples, each sealed when it is complete, and a manifest of all.

A shard is written under a temporary name, synced and renamed, and then sealed: a small file has its sum. Which examples
it has does not depend on the processes, so a prediction that is typed again, with any number of them, keeps the sealed
shards and writes the others. The manifest is written once every shard is sealed.
"""

import fcntl
import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from tfscale import atomic_file, user_paths
from tfscale.errors import RunError, UserError

MANIFEST = "manifest.json"
PATIENCE = 60.0
"""Seconds without a new shard after which a process no longer waits for the others."""

POLL = 0.1
"""Seconds between two looks at what the others have done."""

SEALS = ".shards"
"""Folder of the seals, until there is a manifest."""

Columns = Mapping[str, np.ndarray]
"""Name -> values, [b] or [b, ...]."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The files of one prediction.

    Attributes:
        folder: Where they are.
        format: parquet, csv, jsonl or npz.
        shards: Number of them.
        identity: What the predictions depend on; predictions of something else are not mixed with them.
    """

    folder: Path
    format: str
    shards: int
    identity: Mapping[str, Any]

    def name(self, number: int) -> str:
        """Returns the name of a shard's file."""
        return f"predictions-{number:05}-of-{self.shards:05}.{self.format}"

    def _seal(self, number: int) -> Path:
        return self.folder / SEALS / f"{number:05}.json"

    @property
    def digest(self) -> str:
        """sha256 of what the predictions depend on."""
        return hashlib.sha256(json.dumps([self.identity, self.shards], sort_keys=True).encode()).hexdigest()

    @contextmanager
    def at_work(self) -> Iterator["Finish"]:
        """Makes the folder, and holds it as one of the processes that write to it.

        Gives a function to be called at the end: it waits for the other processes, and the first one writes the
        manifest if every shard is sealed.

        Raises:
            UserError: The folder holds something else.
            RunError: It cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
        except (FileExistsError, NotADirectoryError):
            raise UserError(f"to must be a folder, got {self.folder}, which is a file; give another path") from None
        except OSError as error:
            raise RunError(f"to={self.folder} cannot be made ({error.strerror}); give another path") from None

        def finish() -> None:
            deadline, known = time.monotonic() + PATIENCE, -1
            while not (self.folder / MANIFEST).exists() and time.monotonic() < deadline:
                fcntl.flock(handle, fcntl.LOCK_EX)  # once no other process is at work
                self._finish()
                fcntl.flock(handle, fcntl.LOCK_UN)
                sealed = len(list((self.folder / SEALS).glob("*.json")))
                if sealed > known:
                    deadline, known = time.monotonic() + PATIENCE, sealed
                time.sleep(POLL)  # another process may not have begun yet

        try:
            fcntl.flock(handle, fcntl.LOCK_SH)  # from here on nobody removes the seals
            (self.folder / SEALS).mkdir(exist_ok=True)
            with (self.folder / SEALS / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._claim()
            yield finish
        finally:
            os.close(handle)

    def _claim(self) -> None:
        """Marks the folder as that of this prediction, unless it is complete."""
        if (self.folder / MANIFEST).exists():
            _remove_seals(self.folder)
            return
        ours = {self.name(number) for number in range(self.shards)}
        found = {path.name for path in self.folder.iterdir() if not path.name.startswith(".")}
        mark = self.folder / SEALS / "of"
        before = mark.read_text() if mark.exists() else None
        others = sorted(found - ours)
        if others or (found and before != self.digest):
            what = others[0] if others else "predictions of other examples or of another model"
            if before is None:  # nothing of ours is there
                _remove_seals(self.folder)
            raise UserError(
                f"to={self.folder} must be a new folder, or that of the same prediction, got one with {what}"
            )
        if before != self.digest:
            for stale in (self.folder / SEALS).glob("*.json"):
                stale.unlink(missing_ok=True)
            atomic_file.replace(mark, self.digest)

    def is_sealed(self, number: int) -> bool:
        """Returns whether a shard is complete, by its sum."""
        try:
            seal = json.loads(self._seal(number).read_text())
            with (self.folder / self.name(number)).open("rb") as stream:
                same = hashlib.file_digest(stream, "sha256").hexdigest() == seal["sha256"]
            return same and seal["of"] == self.digest
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def write(self, number: int, columns: Columns) -> None:
        """Writes a shard as a whole, and seals it.

        Raises:
            RunError: The disk is full, or cannot be written to.
            UserError: The format cannot hold these values.
        """
        content = encoded(columns, self.format)
        path = self.folder / self.name(number)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with partial.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(partial, path)
            rows = len(next(iter(columns.values())))
            seal = {"name": path.name, "examples": rows, "sha256": hashlib.sha256(content).hexdigest()}
            seal["of"] = self.digest
            atomic_file.replace(self._seal(number), json.dumps(seal))
        except OSError as error:
            raise RunError(
                f"to={self.folder} cannot be written to ({error.strerror}); type the command again"
            ) from None
        finally:
            partial.unlink(missing_ok=True)

    def _finish(self) -> None:
        """Writes the manifest if every shard is sealed, and removes the seals."""
        if not (self.folder / MANIFEST).exists():
            seals = []
            for number in range(self.shards):
                if not self.is_sealed(number):
                    return
                seal = json.loads(self._seal(number).read_text())
                seals.append({name: seal[name] for name in ("name", "examples", "sha256")})
            content = {**self.identity, "files": seals}
            atomic_file.replace(
                self.folder / MANIFEST, json.dumps({**content, "sha256": _sum(content)}, indent=1) + "\n"
            )
        for path in self.folder.glob(".predictions-*"):  # of processes that were killed
            path.unlink(missing_ok=True)
        _remove_seals(self.folder)


Finish = Callable[[], None]


def _sum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _remove_seals(folder: Path) -> None:
    for path in (folder / SEALS).glob("*"):
        path.unlink(missing_ok=True)
    with suppress(OSError):
        (folder / SEALS).rmdir()


def read_manifest(folder: Path) -> Mapping[str, Any] | None:
    """Returns the manifest of a prediction that is complete; None if it is not.

    Raises:
        UserError: The manifest is damaged, or a file has another sum.
    """
    path = folder / MANIFEST
    if not user_paths.is_file(path):
        return None
    try:
        content = json.loads(path.read_text())
        checksum = content.pop("sha256")
        if _sum(content) != checksum:
            raise ValueError
        for file in content["files"]:
            with (folder / file["name"]).open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != file["sha256"]:
                    raise UserError(f"{folder / file['name']} is damaged: its sha256 sum is wrong; remove {folder}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is damaged, or a file that it lists is missing; remove {folder}") from None
    return content


def encoded(columns: Columns, kind: str) -> bytes:
    """Returns the bytes of a file with some columns.

    Raises:
        UserError: The format cannot hold a value with several axes.
    """
    stream = io.BytesIO()
    if kind == "npz":
        arrays: dict[str, Any] = dict(columns)
        np.savez(stream, **arrays)
    elif kind == "jsonl":
        rows = zip(*(values.tolist() for values in columns.values()), strict=True)
        lines = (json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False, default=str) for row in rows)
        stream.write("".join(f"{line}\n" for line in lines).encode())
    elif kind == "csv":
        deep = next((name for name, values in columns.items() if values.ndim > 1), None)
        if deep is not None:
            raise UserError(
                f"predict.format=csv must have one value a cell, and {deep} has several; type predict.format=parquet"
            )
        csv.write_csv(pa.table({name: pa.array(values) for name, values in columns.items()}), stream)
    else:
        table = pa.table({name: _arrow(values) for name, values in columns.items()})
        parquet.write_table(table, stream)
    return stream.getvalue()


def _arrow(values: np.ndarray) -> pa.Array:
    return pa.array(values if values.ndim == 1 else values.tolist())
