"""metrics.jsonl: one JSON object a line; steps, tensors, training records and evaluations told apart by `kind`."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import final

from tfscale import atomic_file
from tfscale.tracking.base import Record, finite


@final
class JsonlTracker:
    """Appends records to a file; what is not finite becomes null, as JSON has no NaN.

    Args:
        path: The file; a resumed run goes on in it.
        start: The step that the run goes on after: later records, of steps that will be done again, are dropped.
    """

    def __init__(self, path: Path, *, start: int) -> None:
        if path.exists():
            text = path.read_text(encoding="utf-8", errors="replace")
            lines = [line for line in text.splitlines() if _is_before(line, start)]
            atomic_file.replace(path, "".join(f"{line}\n" for line in lines))
        self._stream = path.open("a", encoding="utf-8")

    def progress(self, step: int) -> None:
        """Nothing."""

    def step(self, record: Record) -> None:
        """Writes {"kind": "train", ...}."""
        self._write("train", record)

    def details(self, steps: Sequence[Record], tensors: Mapping[str, Record]) -> None:
        """Writes {"kind": "step", ...} for each step and {"kind": "tensor", "name": ..., ...} for each tensor."""
        for record in steps:
            self._write("step", record)
        for name, record in tensors.items():
            self._write("tensor", {"step": steps[-1]["step"], "name": name, **record})

    def remark(self, step: int, words: str) -> None:
        """Writes {"kind": "remark", ...}."""
        self._write("remark", {"step": step, "words": words})

    def evaluation(self, record: Record) -> None:
        """Writes {"kind": "evaluation", ...}."""
        self._write("evaluation", record)

    def _write(self, kind: str, record: Mapping[str, object]) -> None:
        with suppress(OSError):  # a full disk does not end a run
            self._stream.write(json.dumps({"kind": kind, **finite(record)}) + "\n")
            self._stream.flush()

    def close(self) -> None:
        """Closes the file."""
        with suppress(OSError):
            self._stream.close()


def _is_before(line: str, start: int) -> bool:
    """Whether the line is a whole record of a step up to `start`."""
    try:
        return json.loads(line)["step"] <= start
    except (ValueError, KeyError, TypeError):
        return False
