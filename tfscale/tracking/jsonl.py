"""metrics.jsonl: one JSON object a line; the key `kind` tells steps, tensors, training and evaluation records apart.

A run that goes on from a checkpoint repeats the steps that were completed after it. A repeated step is recorded once,
with the figures of its first time (`first`), so that this file and other trackers have the same figures. If the run
does not repeat itself, because a setting was changed, the file drops what it had of those steps.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, final

from tfscale import atomic_file
from tfscale.tracking.base import Kind, Record, RunInfo, finite
from tfscale.tracking.curves import values_of, whole

_Key = tuple[str, int, str]
"""Kind, step, and the name of a tensor or the words of a remark: what a run has one record of."""


@final
class JsonlTracker:
    """Appends records to a file; values that are not finite become null, as JSON has no NaN.

    Args:
        path: The file; a resumed run continues it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: IO[str] | None = None
        self._start = 0
        self._repeatable: dict[_Key, dict[str, Any]] = {}

    def start(self, run: RunInfo) -> None:
        """Opens the file, and notes its records of steps that the run is about to repeat."""
        self._start = run.start
        if self._path.exists():
            text = self._path.read_text(encoding="utf-8", errors="replace")
            lines = [(line, record) for line in text.splitlines() if (record := whole(line)) is not None]
            if len(lines) != text.count("\n"):  # killed while it was writing
                atomic_file.replace(self._path, "".join(f"{line}\n" for line, _ in lines))
            self._repeatable = {_key(each): each for _, each in lines if each["step"] >= run.start}
        self._stream = self._path.open("a", encoding="utf-8")

    def first(self, kind: Kind, step: int, values: Record) -> Record:
        """Returns the values that this record had the first time, or else `values`.

        A step with another loss than the first time shows that the run does not repeat itself: from there on, the
        values are `values`.
        """
        key = _key({"kind": kind.value, "step": step, **values})
        before = self._repeatable.get(key)
        if before is None:
            return values
        if kind is Kind.STEP and step > self._start and before.get("loss") != finite(values)["loss"]:
            self._drop_from(self._start + 1)
            return values
        return values_of(before)

    def progress(self, step: int) -> None:
        """Does nothing."""

    def log(self, kind: Kind, step: int, values: Record) -> None:
        """Writes {"kind": ..., "step": ..., ...}; histograms are left out."""
        if kind is not Kind.HISTOGRAM:
            self._write({"kind": kind.value, "step": step, **finite(values)})

    def message(self, step: int, text: str) -> None:
        """Writes {"kind": "remark", "step": ..., "words": ...}."""
        self._write({"kind": "remark", "step": step, "words": text})

    def summary(self, results: Mapping[str, Any]) -> None:
        """Drops what is left of steps after the end; the results are in summary.json."""
        self._drop_from(self._start + 1)

    def artifact(self, path: Path) -> None:
        """Does nothing: artifacts are files already."""

    def _write(self, record: dict[str, Any]) -> None:
        if self._stream is None or self._repeatable.pop(_key(record), None) is not None:
            return
        if any(self._start < step < record["step"] for _, step, _ in self._repeatable):
            self._drop_from(self._start + 1)  # the run went past them and did not repeat them
        with suppress(OSError):  # a full disk does not end a run
            self._stream.write(json.dumps(record) + "\n")
            self._stream.flush()

    def _drop_from(self, step: int) -> None:
        """Drops the records from a step on that have not come again."""
        dropped = {key for key in self._repeatable if key[1] >= step}
        self._repeatable = {key: each for key, each in self._repeatable.items() if key not in dropped}
        if self._stream is None or not dropped:
            return
        with suppress(OSError):
            lines = self._path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if (record := whole(line)) is not None and _key(record) not in dropped]
            atomic_file.replace(self._path, "".join(f"{line}\n" for line in kept))
            self._stream.close()
            self._stream = self._path.open("a", encoding="utf-8")

    def finish(self) -> None:
        """Closes the file."""
        if self._stream is not None:
            with suppress(OSError):
                self._stream.close()


def _key(record: Mapping[str, Any]) -> _Key:
    return record["kind"], record["step"], str(record.get("name") or record.get("words") or "")
