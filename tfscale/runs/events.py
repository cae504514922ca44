"""events.jsonl: who trained a run, from when to when, what ended it, and what that cost.

One line an event: `start` (numbers of the processes by rank, and the checkpoint they go on after), `training` (the
first step since is completed, so many seconds after the last end), `end` (why, and the last step that was completed).
Nothing here may stop a run.
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
"""What a line may say, and how."""


@final
class EventLog:
    """Appends to the record of one run.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, event: str, **facts: object) -> None:
        """Writes one line; a disk that is full is not the run's concern."""
        line = json.dumps({"event": event, "when": round(time.time(), 3), **facts})
        with suppress(OSError), self._path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")


def read_events(path: Path) -> Sequence[Mapping[str, Any]]:
    """The events, oldest first; lines that are damaged are left out."""
    events = []
    with suppress(OSError):
        if not path.is_file():  # whatever it is, it would be waited for
            return []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict) and "event" in event and all(map(_is_sound, event, event.values())):
                    events.append(event)
    return events


def _is_sound(name: str, value: object) -> bool:
    return isinstance(value, FIELDS.get(name, object)) and value == value
