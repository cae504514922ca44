"""The page's view of one run: tiles, closing table, settings, timeline, events and what else it noted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tfscale.report import drawing, results, settings
from tfscale.report.events import Event, events_of, restarts, seconds_lost
from tfscale.report.read import Run
from tfscale.report.tables import Table, tables_of
from tfscale.report.timeline import RankTimes, Timeline, timeline_of


@dataclass(frozen=True, kw_only=True)
class RankView:
    """Drawings and numbers of a rank.

    Attributes:
        rank: Its number.
        bars: (group, path) of its timeline.
        parts: (group, per cent of the longest mean step, milliseconds) of a mean step.
        of_step: Milliseconds of a mean step.
        shares: (group, per cent of its time) of its whole time.
    """

    rank: int
    bars: Sequence[tuple[int, str]]
    parts: Sequence[tuple[int, float, float]]
    of_step: float
    shares: Sequence[tuple[int, float]]


@dataclass(frozen=True, kw_only=True)
class View:
    """Everything about one run but its curves and pictures; see the template for the meaning of each."""

    run: Run
    tiles: Sequence[tuple[str, str]]
    started: str
    rows: Sequence[tuple[str, str]]
    settings: dict[str, tuple[str, str]]
    timeline: Timeline | None
    ranks: Sequence[RankView]
    marks: Sequence[tuple[float, str, str]]
    events: Sequence[Event]
    restarts: int
    seconds_lost: float
    evaluation: Sequence[Table]
    environment: Sequence[Table]


def view(run: Run) -> View:
    """Returns what the template shows of a run."""
    timeline, events = timeline_of(run), events_of(run)
    return View(
        run=run,
        tiles=_tiles(run),
        started=events[0].date if events else "",
        rows=results.rows(run),
        settings=settings.changed(run),
        timeline=timeline,
        ranks=[] if timeline is None else _ranks(timeline),
        marks=[] if timeline is None else _marks(timeline, events),
        events=events,
        restarts=restarts(run),
        seconds_lost=seconds_lost(run),
        evaluation=tables_of(run.evaluation),
        environment=tables_of(run.environment),
    )


def _tiles(run: Run) -> list[tuple[str, str]]:
    """Returns the few figures that come first: label and text."""
    summary = run.summary
    found: list[tuple[str, Any]] = [
        (results.spoken(name), results.short(value)) for name, value in results.metrics(run).items()
    ]
    if not found:
        losses = run.records["train"].column("loss")
        found.append(("training loss", results.short(float(losses[-1])) if len(losses) else ""))
    found = found[:3]
    found.append(("steps", "" if run.step is None else f"{run.step:,}"))
    found.append(("training time", results.duration(results.number(summary.get("training_seconds")))))
    speed = results.number(summary.get("samples_per_second"))
    found.append(("samples/s", results.short(speed)))
    sent, dense = results.number(summary.get("bytes_sent")), results.number(summary.get("bytes_dense"))
    if sent and dense and dense > sent:
        found.append(("fewer bytes than an allreduce", f"{dense / sent:,.3g} ×"))
    return [(label, text) for label, text in found if text]


def _ranks(timeline: Timeline) -> list[RankView]:
    groups = timeline.of_step
    longest = max((sum(rank.of_step[group] for group in groups) for rank in timeline.ranks), default=0.0) or 1.0
    return [_rank(timeline, rank, groups, longest) for rank in timeline.ranks]


def _rank(timeline: Timeline, rank: RankTimes, groups: Sequence[int], longest: float) -> RankView:
    total = float(rank.totals.sum()) or 1.0
    return RankView(
        rank=rank.rank,
        bars=drawing.bars(timeline, rank),
        parts=[(group, 100 * rank.of_step[group] / longest, 1e3 * rank.of_step[group]) for group in groups],
        of_step=1e3 * float(sum(rank.of_step[group] for group in groups)),
        shares=[(group, 100 * float(seconds) / total) for group, seconds in enumerate(rank.totals)],
    )


def _marks(timeline: Timeline, events: Sequence[Event]) -> list[tuple[float, str, str]]:
    """Returns (per cent of the timeline, kind, text) of the faults and of the starts after them."""
    found = []
    for each in events[1:]:
        place = 100 * (each.when - timeline.began) / max(timeline.length, 1e-6)
        if each.kind in ("start", "fault") and 0 <= place <= 100:
            found.append((place, each.kind, f"{each.date}: {each.text}"))
    return found
