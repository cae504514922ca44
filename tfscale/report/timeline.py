"""Timelines of the ranks: which phases filled the wall time of a run, and what a step consists of.

The files are those of `training.timeline`. Windows are laid on a common axis of wall time in bins, so clocks of several
hosts must agree to a bin. What the strategy measures inside a step is taken out of the phase `a step`; what is left of
it is the computation, and any exchange that the strategy does not measure.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfscale.report.read import Run
from tfscale.supervision.phase import Phase

GROUPS: Mapping[str, tuple[Phase, ...]] = {
    "waiting for data": (Phase.DATA,),
    "step": (Phase.STEP,),
    "averaging": (Phase.AVERAGING,),
    "logging": (Phase.LOGGING,),
    "evaluating": (Phase.EVALUATING, Phase.EVALUATION_BATCH),
    "saving": (Phase.SAVING, Phase.DISK),
    "starting, compiling": (Phase.STARTING, Phase.COMPILING),
    "closing": (Phase.CLOSING,),
}
"""Name of a share of the time on the page -> phases that it has."""

OF_A_STEP = ("waiting for data", "step", "averaging")
"""Groups that belong to a step, beside what the strategy measures within it."""

COLOURS = 14
"""Colours of groups in page.css."""

RANKS = 32
"""Ranks that a page shows."""

BINS = 160
"""Bins of wall time, of one rank; all ranks together have at most MOST_BINS."""

MOST_BINS = 3000

LARGEST = 32 << 20
"""Bytes of a file, at most."""


@dataclass(frozen=True, kw_only=True)
class RankTimes:
    """Times of one rank.

    Attributes:
        rank: Its number.
        bins: [G, bins] seconds of each group in each bin.
        totals: [G] seconds of each group.
        of_step: [G] seconds of each group in a mean step, without those of the first, which compiles.
        steps: Steps that these are a mean of.
    """

    rank: int
    bins: np.ndarray
    totals: np.ndarray
    of_step: np.ndarray
    steps: int


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Times of all ranks.

    Attributes:
        groups: Names of the G groups, the parts of a step together.
        began: Date of the first start, in seconds since the epoch.
        length: Seconds from there to the end of the last window.
        ranks: Of the run, at most RANKS.
        left_out: Ranks that are not among them.
    """

    groups: Sequence[str]
    began: float
    length: float
    ranks: Sequence[RankTimes]
    left_out: int

    @property
    def colors(self) -> Sequence[int]:
        """Number of each group's colour in page.css: the same group has the same on every page."""
        within = [name for name in self.groups if name not in GROUPS]
        return [min([*GROUPS, *within].index(name), COLOURS - 1) for name in self.groups]

    def is_used(self, name: str) -> bool:
        """Returns whether a group took any time."""
        index = list(self.groups).index(name)
        return any(rank.totals[index] > 0 for rank in self.ranks)

    @property
    def of_step(self) -> Sequence[int]:
        """Indices of the groups that belong to a step and took any time."""
        outside = set(GROUPS) - set(OF_A_STEP)
        chosen = [index for index, name in enumerate(self.groups) if name not in outside]
        return [index for index in chosen if any(each.of_step[index] > 0 for each in self.ranks)]


@dataclass(frozen=True, kw_only=True)
class _Window:
    began: float
    length: float
    steps: tuple[int, int]
    is_first: bool
    seconds: Mapping[str, float]


def timeline_of(run: Run) -> Timeline | None:
    """Returns the times of the ranks of a run; None if it has recorded none."""
    by_rank = {rank: windows for rank, path in _files(run.path) if (windows := _windows(path))}
    if not by_rank:
        return None
    shown = sorted(by_rank)[:RANKS]
    began = min(each.began for rank in shown for each in by_rank[rank])
    length = max(each.began + each.length for rank in shown for each in by_rank[rank]) - began
    measured = dict.fromkeys(name for rank in shown for each in by_rank[rank] for name in each.seconds)
    within = [name for name in measured if name not in GROUPS]
    groups = ["waiting for data", "step", *within, *[*GROUPS][2:]]
    bins = max(20, min(BINS, MOST_BINS // len(shown)))
    ranks = [_times(rank, by_rank[rank], groups, began, max(length, 1e-6), bins) for rank in shown]
    return Timeline(groups=groups, began=began, length=length, ranks=ranks, left_out=len(by_rank) - len(shown))


def _files(folder: Path) -> list[tuple[int, Path]]:
    found = []
    with suppress(OSError):
        for path in (folder / "timeline").glob("rank-*.jsonl"):
            number = path.stem.removeprefix("rank-")
            if number.isdecimal() and path.is_file() and path.stat().st_size <= LARGEST:
                found.append((int(number), path))
    return sorted(found)


def _windows(path: Path) -> list[_Window]:
    """Returns the windows of all starts; damaged lines are left out, and windows whose start is damaged."""
    windows, began, labels, first = list[_Window](), None, dict[str, str](), 0
    with suppress(OSError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
                document = json.loads(line)
                if "began" in document:
                    began, first = float(document["began"]), int(document["start"])
                    labels = {str(name): str(label) for name, label in document["labels"].items()}
                elif began is not None:
                    windows.append(_window(document, began, labels, first))
    return windows


def _window(document: Mapping[str, Any], began: float, labels: Mapping[str, str], first: int) -> _Window:
    """Returns a window of a line.

    Raises:
        ValueError: A time is not finite or negative; other exceptions of a damaged line are possible.
    """
    known = {phase.value: name for name, phases in GROUPS.items() for phase in phases}
    seconds: dict[str, float] = {}
    for phase, value in document["phases"].items():
        name = known.get(phase, "closing")
        seconds[name] = seconds.get(name, 0.0) + float(value)
    for figure, value in document["within"].items():  # a part of the step, whatever the clocks say
        part = min(float(value), seconds.get("step", 0.0))
        seconds["step"] = seconds.get("step", 0.0) - part
        seconds[labels.get(figure, figure)] = part
    at, length = float(document["at"]), float(document["length"])
    one, two = (int(step) for step in document["steps"])
    if not all(0 <= value < 1e9 for value in (at, length, *seconds.values())):
        raise ValueError("a time is out of range")
    return _Window(began=began + at, length=length, steps=(one, two), is_first=one == first, seconds=seconds)


def _times(
    rank: int, windows: Sequence[_Window], groups: Sequence[str], began: float, length: float, bins: int
) -> RankTimes:
    laid, totals, later, steps = np.zeros((len(groups), bins)), np.zeros(len(groups)), np.zeros(len(groups)), 0
    only_first = all(each.is_first for each in windows)
    for each in windows:
        seconds = np.array([each.seconds.get(name, 0.0) for name in groups])
        totals += seconds
        if only_first or not each.is_first:
            later += seconds
            steps += max(0, each.steps[1] - each.steps[0])
        edges = (np.array([each.began, each.began + each.length]) - began) / length * bins
        _spread(laid, edges, seconds)
    return RankTimes(rank=rank, bins=laid, totals=totals, of_step=later / max(steps, 1), steps=steps)


def _spread(laid: np.ndarray, edges: np.ndarray, seconds: np.ndarray) -> None:
    """Adds the seconds [G] of a window to the bins [G, bins] that it overlaps, in proportion."""
    first, last = int(edges[0]), min(int(np.ceil(edges[1])), laid.shape[1])
    first = min(first, laid.shape[1] - 1)
    indices = np.arange(first, max(last, first + 1))
    overlap = np.minimum(indices + 1, edges[1]) - np.maximum(indices, edges[0])
    overlap = np.clip(overlap, 1e-12, None)
    laid[:, indices] += seconds[:, None] * (overlap / overlap.sum())[None, :]
