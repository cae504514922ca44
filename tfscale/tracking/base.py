"""The sink seam: what a run tells while it goes on."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Record = Mapping[str, float]


def finite(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with null for what is not finite: JSON has no NaN."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in document.items()
    }


class Tracker(Protocol):
    """Gets the records of a run, in order."""

    def progress(self, step: int) -> None:
        """`step` optimizer steps are completed; called at every one, so it must be cheap."""
        ...

    def step(self, record: Record) -> None:
        """A log record: step, epoch, loss, samples_per_second, and the strategy's measurements."""
        ...

    def details(self, steps: Sequence[Record], tensors: Mapping[str, Record]) -> None:
        """Called before `step`: a record for each step since the last one, and for each trainable tensor at the last.

        Args:
            steps: Step, loss, seconds and the strategy's measurements.
            tensors: By the tensor's name; empty if the strategy measures none.
        """
        ...

    def remark(self, step: int, words: str) -> None:
        """Something has changed after `step` steps."""
        ...

    def evaluation(self, record: Record) -> None:
        """Step, loss and metrics on the test data."""
        ...

    def close(self) -> None:
        """No more records come, whether the run ended well or not."""
        ...
