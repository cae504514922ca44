"""Reads metrics.jsonl: one rule for what is a record, for trackers, plots, reports and tables.

A kill cuts the last line off, and a disk may damage any: such lines are left out.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

LARGEST = 1e300
"""Values from here on are damage: an integer of JSON may be too large for a float."""


def record_of(line: str | bytes) -> dict[str, Any] | None:
    """Returns the record of a line; None if it is damaged or has no step."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and is_number(record.get("step")) else None


def records(metrics: Path, damaged: list[int] | None = None) -> Iterator[dict[str, Any]]:
    """Yields the records of metrics.jsonl; damaged lines, and those without a step, are left out.

    Args:
        metrics: The file.
        damaged: Takes the numbers of the lines that are left out, from 1.

    Raises:
        OSError: The file cannot be read.
    """
    with metrics.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, 1):
            record = record_of(line)
            if record is not None:
                yield record
            elif damaged is not None:
                damaged.append(number)


def is_number(value: object) -> TypeGuard[float]:
    """Returns whether a value of a record can be a figure."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST
