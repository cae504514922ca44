"""Starts and ends of a run's processes as rows for a person, and their places on the timeline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfscale.report.read import Run
from tfscale.report.results import date, duration, number

MOST = 300
"""Events that a page shows."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event.

    Attributes:
        when: Seconds since the epoch.
        date: The same for a person.
        kind: start, training, end or fault.
        text: Its cause or consequence.
        lost: Seconds lost, for a person; empty for none.
    """

    when: float
    date: str
    kind: str
    text: str
    lost: str


def events_of(run: Run) -> Sequence[Event]:
    """Returns the events, oldest first; the last MOST of them."""
    return [
        Event(
            when=number(each.get("when")) or 0.0,
            date=date(each.get("when")),
            kind="fault" if each["event"] == "end" and each.get("code") else str(each["event"]),
            text=_text(each),
            lost=duration(lost) if (lost := number(each.get("seconds_lost"))) else "",
        )
        for each in run.events[-MOST:]
    ]


def restarts(run: Run) -> int:
    """Returns how often the supervisor started the job again."""
    return sum(1 for each in run.events if each["event"] == "start" and each.get("restarts"))


def seconds_lost(run: Run) -> float:
    """Returns the seconds between the ends of processes and the first steps after them."""
    return sum(number(each.get("seconds_lost")) or 0.0 for each in run.events)


def _text(event: Mapping[str, Any]) -> str:
    if event["event"] == "start":
        count = len(event.get("processes", []))
        origin = f"from {event['checkpoint']}" if event.get("checkpoint") else "from the beginning"
        return f"{count} process{'' if count == 1 else 'es'} started, {origin}"
    if event["event"] == "training":
        return f"training; step {event.get('step')} completed"
    if event["event"] == "end":
        after = f" after step {event['step']}" if event.get("step") is not None else ""
        return f"{event.get('cause') or 'ended well'}{after}"
    return str(event["event"])
