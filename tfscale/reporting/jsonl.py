"""metrics.jsonl: one JSON object a line, training records and evaluations told apart by `kind`."""

import json
import math
from pathlib import Path
from typing import final

from tfscale.reporting.base import Record


@final
class JsonLines:
    """Appends records to a file; what is not finite becomes null, as JSON has no NaN.

    Args:
        path: The file; a resumed run goes on in it.
    """

    def __init__(self, path: Path) -> None:
        self._stream = path.open("a", encoding="utf-8")

    def progress(self, step: int) -> None:
        """Nothing."""

    def step(self, record: Record) -> None:
        """Writes {"kind": "train", ...}."""
        self._write("train", record)

    def evaluation(self, record: Record) -> None:
        """Writes {"kind": "evaluation", ...}."""
        self._write("evaluation", record)

    def _write(self, kind: str, record: Record) -> None:
        finite = {name: value if math.isfinite(value) else None for name, value in record.items()}
        self._stream.write(json.dumps({"kind": kind, **finite}) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()
