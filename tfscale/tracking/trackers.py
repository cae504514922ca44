"""All trackers of a process as one; a tracker that fails is left out from then on, with a warning."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from tfscale.errors import UserError, first_line
from tfscale.tracking.base import Kind, Record, RunInfo, Tracker
from tfscale.tracking.jsonl import JsonlTracker


@contextmanager
def closing_trackers(trackers: "Trackers") -> Iterator["Trackers"]:
    """Gives the trackers, and finishes them however the block ends."""
    try:
        yield trackers
    finally:
        trackers.finish()


@final
class Trackers:
    """Calls each tracker in turn.

    Args:
        trackers: In this order.
        recorded: One of them, whose records of a repeated step are the ones that all get.
        warn: Takes a sentence about a tracker that has failed.
    """

    def __init__(
        self, trackers: Sequence[Tracker], *, warn: Callable[[str], None], recorded: JsonlTracker | None = None
    ) -> None:
        self._trackers, self._warn, self._recorded = list(trackers), warn, recorded

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for tracker in list(self._trackers):
            try:
                call(tracker)
            except UserError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever a tracker dies of, the run goes on
                self._trackers.remove(tracker)
                self._warn(f"{type(tracker).__name__} failed and gets no more records: {first_line(error)}")

    def start(self, run: RunInfo) -> None:
        """See `base.Tracker`.

        Raises:
            UserError: A tracker cannot be used as configured.
        """
        self._each(lambda tracker: tracker.start(run))

    def progress(self, step: int) -> None:
        """See `base.Tracker`."""
        self._each(lambda tracker: tracker.progress(step))

    def log(self, kind: Kind, step: int, values: Record) -> None:
        """See `base.Tracker`."""
        same = values if self._recorded is None else self._recorded.first(kind, step, values)
        self._each(lambda tracker: tracker.log(kind, step, same))

    def message(self, step: int, text: str) -> None:
        """See `base.Tracker`."""
        self._each(lambda tracker: tracker.message(step, text))

    def summary(self, results: Mapping[str, Any]) -> None:
        """See `base.Tracker`."""
        self._each(lambda tracker: tracker.summary(results))

    def artifact(self, path: Path) -> None:
        """See `base.Tracker`."""
        self._each(lambda tracker: tracker.artifact(path))

    def finish(self) -> None:
        """See `base.Tracker`; a second call does nothing."""
        self._each(lambda tracker: tracker.finish())
        self._trackers.clear()
