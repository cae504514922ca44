"""events.jsonl: the starts and ends of a run's processes, with their causes and costs.

One line an event: `start` (process ids by rank, and the checkpoint that training resumes from), `training` (the first
step of the start is completed; seconds since the last end), `end` (cause, and the last step completed). An error in
this module never stops a run.
"""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, final

Number = int | float
FIELDS: Mapping[str, Any] = {
    "event": str,
    "when": Number,
    "processes": list,
    "restarts": int,
    "checkpoint": str | None,
    "step": int | None,
    "seconds_lost": Number,
    "code": int | None,
    "cause": str | None,
}
"""Fields of an event and their types; other fields may have any."""


@final
class EventLog:
    """Appends events of one run.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, event: str, **fields: object) -> None:
        """Appends one event; drops it if that fails, as on a full disk."""
        line = json.dumps({"event": event, "when": round(time.time(), 3), **fields})
        with suppress(OSError), self._path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")


def read_events(path: Path) -> Sequence[Mapping[str, Any]]:
    """Reads the events, oldest first; skips damaged lines."""
    events = []
    with suppress(OSError):
        if not path.is_file():  # opening a pipe would block
            return []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict) and "event" in event and all(map(_is_valid, event, event.values())):
                    events.append(event)
    return events


def _is_valid(name: str, value: object) -> bool:
    return isinstance(value, FIELDS.get(name, object)) and value == value
