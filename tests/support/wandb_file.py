"""Prints what a .wandb file holds, as JSON, in a process of its own: importing wandb makes temporary folders.

usage: python -m tests.support.wandb_file FILE
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER = 32768, 7
"""Of W&B's files, which have the format of LevelDB's log."""


def records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file, as W&B's own messages."""
    content = path.read_bytes()
    place, parts = HEADER, b""
    while place + HEADER <= len(content):
        if BLOCK - place % BLOCK < HEADER:
            place += BLOCK - place % BLOCK
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        parts += content[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (1, 4):  # a whole record, or the last part of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def contents(path: Path) -> dict[str, Any]:
    """Configuration and rows, without W&B's own."""
    config: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    for record in records(path):
        kind = record.WhichOneof("record_type")
        for part in (record.run.config.update, record.config.update) if kind in ("run", "config") else ():
            config |= {item.key or item.nested_key[0]: json.loads(item.value_json) for item in part}
        if kind == "history":
            items = record.history.item
            values = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
            rows.append({name: value for name, value in values.items() if not name.startswith("_")})
    return {"config": {name: each for name, each in config.items() if not name.startswith("_")}, "rows": rows}


if __name__ == "__main__":
    print(json.dumps(contents(Path(sys.argv[1]))))
