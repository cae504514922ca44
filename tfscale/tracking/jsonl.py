"""metrics.jsonl: one JSON object a line; the key `kind` tells steps, tensors, training and evaluation records apart."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, final

from tfscale import atomic_file
from tfscale.tracking.base import Kind, Record, RunInfo, finite


@final
class JsonlTracker:
    """Appends records to a file; values that are not finite become null, as JSON has no NaN.

    Args:
        path: The file; a resumed run continues it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: IO[str] | None = None

    def start(self, run: RunInfo) -> None:
        """Opens the file and drops records of steps that the run is about to repeat."""
        if self._path.exists():
            text = self._path.read_text(encoding="utf-8", errors="replace")
            kept = [line for line in text.splitlines() if _is_before(line, run.start)]
            atomic_file.replace(self._path, "".join(f"{line}\n" for line in kept))
        self._stream = self._path.open("a", encoding="utf-8")

    def progress(self, step: int) -> None:
        """Does nothing."""

    def log(self, kind: Kind, step: int, values: Record) -> None:
        """Writes {"kind": ..., "step": ..., ...}."""
        self._write({"kind": kind.value, "step": step, **finite(values)})

    def message(self, step: int, text: str) -> None:
        """Writes {"kind": "remark", "step": ..., "words": ...}."""
        self._write({"kind": "remark", "step": step, "words": text})

    def summary(self, results: Mapping[str, Any]) -> None:
        """Does nothing: summary.json is a file of its own."""

    def artifact(self, path: Path) -> None:
        """Does nothing: artifacts are files already."""

    def _write(self, record: Mapping[str, object]) -> None:
        if self._stream is not None:
            with suppress(OSError):  # a full disk does not end a run
                self._stream.write(json.dumps(record) + "\n")
                self._stream.flush()

    def finish(self) -> None:
        """Closes the file."""
        if self._stream is not None:
            with suppress(OSError):
                self._stream.close()


def _is_before(line: str, start: int) -> bool:
    """Returns whether the line is a whole record of a step up to `start`."""
    try:
        return json.loads(line)["step"] <= start
    except (ValueError, KeyError, TypeError):
        return False
