"""The tracker seam: what a run reports while it goes on, and how its figures are described.

A tracker may fail; it never stops a run (see `trackers.Trackers`). A strategy describes its own figures, so trackers,
tables and plots know no strategy.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

Record = Mapping[str, float | str]


class Kind(Enum):
    """The kinds of records."""

    STEP = "step"
    """One for each step: loss, seconds and the strategy's measurements."""

    TENSOR = "tensor"
    """One for each trainable tensor at a log step, with its `name`, if the strategy or a tracker asks for them."""

    HISTOGRAM = "histogram"
    """At a log step, if a tracker asks for them: `name`, `of` (parameters or updates), `low`, `high`, and the number
    of elements in each of the ranges of equal width between those two, `count_0`, `count_1` ..."""

    TRAIN = "train"
    """One for each `train.log_every` steps: loss, learning rate, speed and the strategy's measurements."""

    VALIDATION = "validation"
    """Loss and metrics of the validation examples."""

    TEST = "test"
    """Loss and metrics of the test examples, at the end."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The presentation of a figure that a strategy measures.

    Attributes:
        label: Name for tables and legends.
        unit: Of the figure; empty for a number without one.
        goal: What the figure is steered to, for the closing table; empty for nothing.
        targets: The same as numbers, one or a lower and an upper bound, for panels.
        line: Format of the figure in a log line, "density {:.2e}"; None to leave it out.
        averaged: Whether the mean over the run is a result.
        panel: Title of its panel in strategy.png; figures with one title share a panel; None to leave it out.
        total: Whether it counts since the start, so that a panel shows the increase of a step.
        log_scale: Whether its axis is always logarithmic.
        of_tensors: Whether it is also drawn for each tensor in tensors.png.
    """

    label: str
    unit: str = ""
    goal: str = ""
    targets: Sequence[float] = ()
    line: str | None = None
    averaged: bool = False
    panel: str | None = None
    total: bool = False
    log_scale: bool = False
    of_tensors: bool = False


Measurements = Mapping[str, Measurement]
"""Name of the figure in records -> how it is shown, in the order of panels."""


@dataclass(frozen=True, kw_only=True)
class Monitored:
    """The figure by which evaluations on the validation examples are compared.

    Attributes:
        name: The loss or a metric, as in the records.
        direction: `min` or `max`, the better one; None if nothing is known.
        min_delta: Least improvement over the best, in units of the figure.
        best: The best value before this start; NaN before the first.
    """

    name: str
    direction: Literal["min", "max"] | None
    min_delta: float = 0.0
    best: float = math.nan


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """The facts about a run that trackers get at its start.

    Attributes:
        name: Of the run.
        folder: Its run directory.
        config: The resolved configuration, as plain values.
        start: Optimizer steps completed, when resumed. Steps after it were logged before if the run was killed.
        steps: Optimizer steps of the whole run.
        processes: That train it.
        measurements: What the strategy measures.
        evaluate_every: Steps between two evaluations on the validation examples; None if they are not regular.
        monitored: The figure by which evaluations are compared; None if there is none.
        id: Of the run: unique, and the same at every start; empty if no tracker needs it.
        tags: Facts about its origin, such as the command line.
        earlier: Yields the training and evaluation records up to `start`, in order, with kind and step.
        is_new: Whether the run begins; False at a restart and when it is resumed.
        answered: Restarts the clock of `Subscriber.timeout`. A tracker calls it after each answer within a long call.
    """

    name: str
    folder: Path
    config: Mapping[str, Any]
    start: int
    steps: int
    processes: int
    measurements: Measurements = field(default_factory=dict)
    evaluate_every: int | None = None
    monitored: Monitored | None = None
    id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    earlier: Callable[[], Iterable[tuple[Kind, int, Record]]] = tuple
    is_new: bool = True
    answered: Callable[[], None] = lambda: None


class Tracker(Protocol):
    """Gets the records of a run, in order."""

    def start(self, run: RunInfo) -> None:
        """Is called once, before anything else."""
        ...

    def progress(self, step: int) -> None:
        """Is called at every step, with the steps completed; must be cheap."""
        ...

    def log(self, kind: Kind, step: int, values: Record) -> None:
        """Takes one record, made after `step` steps."""
        ...

    def message(self, step: int, text: str) -> None:
        """Takes a sentence about what has changed after `step` steps."""
        ...

    def summary(self, results: Mapping[str, Any]) -> None:
        """Takes the results of a run that has ended well, as in summary.json."""
        ...

    def artifact(self, path: Path) -> None:
        """Takes a file that the run has made: a picture, for instance."""
        ...

    def finish(self) -> None:
        """Is called once, at the end, however the run ended."""
        ...


@runtime_checkable
class Subscriber(Tracker, Protocol):
    """A tracker of the group `tracker`: it runs in a thread of its own and gets the records that it asks for."""

    @property
    def kinds(self) -> Collection[Kind]:
        """Kinds of records for `log`; with TENSOR, each tensor's `update_ratio` is measured, too."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds without an answer after which the run goes on without the tracker."""
        ...


def finite(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with null for what is not finite: JSON has no NaN."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in document.items()
    }
