"""The facts about a run that `tfscale runs` lists, read from its directory; no TensorFlow, no Hydra.

Files are read when a key of theirs is asked for, and of metrics.jsonl only the end.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, final

from tfscale.dotted_keys import flattened
from tfscale.runs import provenance
from tfscale.runs.events import read_events
from tfscale.runs.run_directory import RunDirectory
from tfscale.runs.settings import Settings
from tfscale.runs.state import state_of
from tfscale.supervision import heartbeat
from tfscale.tracking.records import record_of

TAIL = 1 << 16
"""Bytes at the end of metrics.jsonl that are read."""

OWN_KEYS = ("loss", "metrics", "run")
"""Groups whose option is no value of a row: a key of summary.json, or the run itself, has the name."""

_LEFT_OUT = ("name", "directory")
"""Keys of summary.json that say what `run` and `path` say."""


@final
class RunRow:
    """One run.

    Args:
        path: The run directory.
        name: Its name for commands: NAME, or SWEEP/job-001.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._directory = RunDirectory(path, only_read=True)
        self._settings = Settings(path / "config.yaml")
        self.name = name

    @cached_property
    def results(self) -> Mapping[str, Any]:
        """Content of summary.json, flat."""
        found = self._directory.results()
        return {key: value for key, value in flattened(found).items() if key not in _LEFT_OUT}

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """State, progress and restarts."""
        directory, results = self._directory, self.results
        events = read_events(directory.events)
        starts = [event for event in events if event["event"] == "start"]
        trains = directory.is_locked()
        running = trains or not results
        metrics = results.get("metrics")
        metric = metrics[0] if isinstance(metrics, list) and metrics and isinstance(metrics[0], str) else None
        return {
            "run": self.name,
            "path": str(directory.path),
            "state": state_of(directory, events, trains=trains),
            "step": heartbeat.steps_of(directory.logs) if running else results.get("steps"),
            "steps": self._start.get("steps") if running else results.get("steps"),
            "result": None if metric is None or results.get(metric) is None else f"{metric} {results[metric]:.4g}",
            "processes": len(starts[-1].get("processes", [])) if starts else results.get("processes"),
            "restarts": sum(1 for event in starts if event.get("restarts")),
            "seconds_lost": round(sum(event.get("seconds_lost", 0) for event in events), 1),
            "last_failure": _last_failure(events),
        }

    @cached_property
    def speed(self) -> Mapping[str, Any]:
        """Speed of a run that is being trained, and the seconds that its remaining steps take, if they are known."""
        if self.facts["state"] != "training":
            return {}
        records = _tail(self._directory.metrics)
        logged = [each for each in records if each.get("kind") == "train"]
        seconds = [each["seconds"] for each in records if each.get("kind") == "step" and "seconds" in each]
        step, steps = self.facts["step"], self.facts["steps"]
        left = None if step is None or steps is None or not seconds else (steps - step) * sum(seconds) / len(seconds)
        return {
            "samples_per_second": logged[-1].get("samples_per_second") if logged else None,
            "seconds_left": None if left is None else round(left, 1),
        }

    @cached_property
    def _start(self) -> Mapping[str, Any]:
        """The last start in environment.json."""
        return next(iter(provenance.starts(self._directory.environment)[-1:]), {})

    @cached_property
    def _choices(self) -> Mapping[str, Any]:
        choices = self._start.get("choices")
        return choices if isinstance(choices, dict) else {}

    def has(self, key: str) -> bool:
        """Returns whether the run has a key: of its state, its summary or its configuration, or a group."""
        return any(key in each for each in (self.facts, self.speed, self.results, self._node(key))) or (
            key in self._choices and key not in OWN_KEYS
        )

    def value(self, key: str) -> Any:
        """Returns the value of a key; None if the run does not have it."""
        for values in (self.facts, self.speed, self.results, self._node(key)):
            if key in values:
                return values[key]
        return None if key in OWN_KEYS else self._choices.get(key)

    def all(self) -> dict[str, Any]:
        """Returns the value of every key."""
        choices = {key: value for key, value in self._choices.items() if key not in OWN_KEYS}
        return {**choices, **self._settings.all(), **self.results, **self.speed, **self.facts}

    def direction(self, key: str) -> str | None:
        """Returns `min` or `max` for a metric, the better direction; None if nothing is known."""
        return self.results.get(f"directions.{key}")

    def _node(self, key: str) -> Mapping[str, Any]:
        return self._settings.node(key.partition(".")[0])


def _last_failure(events: Sequence[Mapping[str, Any]]) -> str | None:
    """The cause of the last end of the processes before the end of the run; None if there was none."""
    causes = [event["cause"] for event in events if event["event"] == "end" and event.get("cause")]
    return str(causes[-1]).split(". Its log", 1)[0].split("; go on", 1)[0] if causes else None


def _tail(metrics: Path) -> list[dict[str, Any]]:
    """The last records of metrics.jsonl, without the line that may be cut at the beginning."""
    with suppress(OSError), metrics.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - TAIL))
        return [record for line in stream.read().splitlines() if (record := record_of(line)) is not None]
    return []
