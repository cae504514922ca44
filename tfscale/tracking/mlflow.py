"""MLflow by its plain client: its autologging patches `fit`, which tfscale does not call.

The run on the server is found by a tag with the id of ours, so no kill can make a second one, and the server is asked
for the last step of each curve, so no step is logged twice. What it lacks is taken from metrics.jsonl. That may be many
requests; each has the whole timeout.
"""

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from tfscale.dotted_keys import flattened, without_empty
from tfscale.errors import UserError
from tfscale.tracking.base import Kind, Record, RunInfo
from tfscale.tracking.curves import KINDS, curves

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

RUN_TAG = "tfscale.run"
"""Tag of a run on the server: the id of ours."""

BATCH = 1000
"""Figures that one request may have; MLflow takes no more."""

LONGEST_PARAM, LONGEST_TAG = 6000, 8000
"""Characters of a parameter's and of a tag's value; MLflow takes no more."""

PARAMS = 100
"""Parameters that one request may have."""


def check(*, tracking_uri: str | None, experiment: str, timeout: float) -> None:
    """Checks that a server is named: MLflow's own default is a database in the current folder.

    Args:
        tracking_uri: As for `MlflowTracker`; so are the others.
        experiment: Any.
        timeout: Any.

    Raises:
        UserError: None is named.
    """
    if tracking_uri is None and "MLFLOW_TRACKING_URI" not in os.environ:
        raise UserError(
            "tracker.mlflow.tracking_uri must be the address of a server, got null; type "
            "tracker.mlflow.tracking_uri=http://HOST:5000, or set MLFLOW_TRACKING_URI"
        )


@final
class MlflowTracker:
    """Logs settings as parameters, curves and results as metrics, and files as artifacts.

    Args:
        tracking_uri: Of the server; None for MLflow's own default.
        experiment: Name; created unless it exists.
        timeout: See `Subscriber`; a request takes no longer, with its second attempt.
    """

    kinds = KINDS

    def __init__(self, *, tracking_uri: str | None, experiment: str, timeout: float) -> None:
        self._uri, self._experiment = tracking_uri, experiment
        self._run, self._ended_well, self.timeout = "", False, timeout
        _set_environment(timeout)
        import mlflow  # noqa: F401 - seconds, which no timeout counts

        self._client: Any = None
        self._answered: Callable[[], None] = lambda: None
        self._last: dict[str, int] = {}
        self._waiting: list[Metric] = []

    def start(self, run: RunInfo) -> None:
        """Creates the run on the server, or continues it."""
        from mlflow import MlflowClient

        self._client = client = MlflowClient(tracking_uri=self._uri)
        self._answered = run.answered
        experiment = client.get_experiment_by_name(self._experiment)
        run.answered()
        number = client.create_experiment(self._experiment) if experiment is None else experiment.experiment_id
        run.answered()
        found = client.search_runs([number], filter_string=f"tags.`{RUN_TAG}` = '{run.id}'", max_results=1)
        run.answered()
        if found:
            mine = found[0]
            client.update_run(mine.info.run_id, status="RUNNING")
        else:
            mine = client.create_run(number, run_name=run.name, tags={RUN_TAG: run.id})
        run.answered()
        self._run = mine.info.run_id
        self._describe(run, mine)
        self._last = {each.key: each.step for each in mine.data.to_proto().metrics}  # the newest of each
        for kind, step, values in run.earlier():
            self._add(step, curves(kind, values))
            if len(self._waiting) >= BATCH:
                self._send()

    def _describe(self, run: RunInfo, mine: "Run") -> None:
        """Logs the settings; one that has changed since the run began is a tag, as a parameter cannot change."""
        from mlflow.entities import Param, RunTag

        settings = without_empty(flattened(run.config))
        now = {_permitted(name): _text(value)[:LONGEST_PARAM] for name, value in settings.items()}
        new = [Param(name, value) for name, value in now.items() if name not in mine.data.params]
        for begin in range(0, len(new), PARAMS):
            self._client.log_batch(self._run, params=new[begin : begin + PARAMS])
            self._answered()
        changed = {name: value for name, value in now.items() if mine.data.params.get(name, value) != value}
        tags = {_permitted(name): value[:LONGEST_TAG] for name, value in {**run.tags, **changed}.items()}
        self._client.log_batch(self._run, tags=[RunTag(name, value) for name, value in tags.items()])
        self._answered()

    def _add(self, step: int, figures: Mapping[str, float]) -> None:
        """Adds figures to what is sent next, but for those that the server has."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        for given, value in figures.items():
            name = _permitted(given)
            if step > self._last.get(name, -1):
                self._last[name] = step
                self._waiting.append(Metric(name, value, now, step))

    def _send(self) -> None:
        while self._waiting:
            self._client.log_batch(self._run, metrics=self._waiting[:BATCH])
            self._answered()
            del self._waiting[:BATCH]

    def progress(self, step: int) -> None:
        """Does nothing."""

    def log(self, kind: Kind, step: int, values: Record) -> None:
        """Sends a training or evaluation record, and what the server lacked before."""
        figures = curves(kind, values)
        if figures:
            self._add(step, figures)
            self._send()

    def message(self, step: int, text: str) -> None:
        """Does nothing: MLflow has no place for remarks."""

    def summary(self, results: Mapping[str, Any]) -> None:
        """Sends numbers as metrics summary/NAME, and texts as tags."""
        figures = {name: float(value) for name, value in results.items() if isinstance(value, int | float)}
        self._add(int(results["steps"]), {f"summary/{name}": value for name, value in figures.items()})
        self._send()
        for name, value in results.items():
            if value is not None and name not in figures:
                self._client.set_tag(self._run, f"summary.{_permitted(name)}", _text(value)[:LONGEST_TAG])
                self._answered()
        self._ended_well = True

    def artifact(self, path: Path) -> None:
        """Sends a file."""
        self._client.log_artifact(self._run, str(path))

    def finish(self) -> None:
        """Ends the run on the server."""
        self._send()
        self._client.set_terminated(self._run, "FINISHED" if self._ended_well else "KILLED")


def _set_environment(timeout: float) -> None:
    """Bounds requests, which may take MLflow many minutes, and leaves what the user has set."""
    defaults = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, int(timeout // 2))),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",  # nothing is sent to anyone but the server
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def _permitted(name: str) -> str:
    """The name with _ in place of characters that MLflow does not take."""
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
