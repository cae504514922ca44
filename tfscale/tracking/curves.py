"""The records that make curves, as trackers outside of the run directory name and keep them.

metrics.jsonl is the reference: a tracker whose last records were lost, by a kill or by a network that was down, takes
them from there at the next start. So it needs only to know what its own side has.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tfscale.tracking.base import Kind, Record
from tfscale.tracking.records import record_of, records

KINDS = (Kind.TRAIN, Kind.VALIDATION, Kind.TEST)
"""Kinds of records that make curves."""

_BY_NAME = {kind.value: kind for kind in KINDS}


def curves(kind: Kind, values: Record) -> dict[str, float]:
    """Returns the figures of a record by the names of their curves: train/loss, validation/accuracy.

    Infinities become NaN: metrics.jsonl has null for both. Records that make no curves give none.
    """
    if kind not in KINDS:
        return {}
    numbers = {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
    return {f"{kind.value}/{name}": value if math.isfinite(value) else math.nan for name, value in numbers.items()}


def earlier(metrics: Path, start: int) -> Iterator[tuple[Kind, int, Record]]:
    """Yields the records of metrics.jsonl that make curves, up to a step.

    Args:
        metrics: The file; none if it does not exist.
        start: The last step.
    """
    if not metrics.exists():
        return
    for record in records(metrics):
        kind = _BY_NAME.get(str(record.get("kind")))
        if kind is not None and record["step"] <= start:
            yield kind, record["step"], values_of(record)


def whole(line: str) -> dict[str, Any] | None:
    """Returns a line of metrics.jsonl; None if it is not a whole record."""
    record = record_of(line)
    return record if record is not None and isinstance(record["step"], int) and "kind" in record else None


def values_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a line of metrics.jsonl was logged with; NaN for null."""
    values = {name: value for name, value in record.items() if name not in ("kind", "step")}
    return {name: math.nan if value is None else value for name, value in values.items()}
