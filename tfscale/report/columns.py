"""Columns of numbers, filled record by record: a million records take 8 bytes a figure, not a dict each."""

import math
from array import array
from collections.abc import Mapping
from typing import final

import numpy as np

from tfscale.tracking.records import LARGEST


@final
class Columns:
    """The numbers of records of one kind; a figure that a record lacks is NaN there."""

    def __init__(self) -> None:
        self._columns: dict[str, array[float]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, record: Mapping[str, object]) -> None:
        """Adds one record; what is not a number is left out."""
        for name, value in record.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                column = self._columns.setdefault(name, array("d"))
                column.extend([math.nan] * (self._count - len(column)))
                column.append(value if abs(value) < LARGEST else math.nan)
        self._count += 1

    def names(self) -> list[str]:
        """Returns the figures that any record has, in the order of their first record."""
        return [name for name in self._columns if name != "step"]

    def column(self, name: str) -> np.ndarray:
        """Returns a figure of all records, [n] float64."""
        values = np.frombuffer(self._columns.get(name, array("d")), dtype=np.float64)
        return np.concatenate([values, np.full(self._count - len(values), np.nan)])
