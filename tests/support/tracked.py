"""Other sides of trackers: an MLflow server, W&B's offline files, TensorBoard's event files, and the reference."""

import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, final

SERVER = Path(sys.prefix) / "mlflow-server" / "bin" / "mlflow"
"""Made by `make extras`."""

Curves = dict[str, list[tuple[int, float | None]]]
"""Name -> (step, value) in order; None for NaN."""

ROOT = Path(__file__).parent.parent.parent


def curves_of(metrics: Path) -> Curves:
    """The reference: the curves that metrics.jsonl holds."""
    found: Curves = defaultdict(list)
    for line in metrics.read_text().splitlines():
        record = json.loads(line)
        if record["kind"] in ("train", "validation", "test"):
            for name, value in record.items():
                if name not in ("kind", "step"):
                    found[f"{record['kind']}/{name}"].append((record["step"], value))
    return dict(found)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@final
class MlflowServer:
    """A server, asked by HTTP and not by MLflow's client."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.address = process, f"http://127.0.0.1:{port}"

    def get(self, where: str, **query: str) -> bytes:
        with urllib.request.urlopen(f"{self.address}/{where}?{urllib.parse.urlencode(query)}", timeout=30) as answer:
            return answer.read()

    def ask(self, path: str, **query: str) -> dict[str, Any]:
        return json.loads(self.get(f"api/2.0/mlflow/{path}", **query))

    def runs(self, experiment: str) -> list[dict[str, Any]]:
        """All runs of an experiment."""
        number = self.ask("experiments/get-by-name", experiment_name=experiment)["experiment"]["experiment_id"]
        request = urllib.request.Request(
            f"{self.address}/api/2.0/mlflow/runs/search",
            json.dumps({"experiment_ids": [number]}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())["runs"]

    def curves(self, run: dict[str, Any]) -> Curves:
        """Every value that was ever logged, in the order in which it was logged."""
        number = run["info"]["run_id"]
        found: Curves = {}
        for each in run["data"]["metrics"]:
            history = self.ask("metrics/get-history", run_id=number, metric_key=each["key"])["metrics"]
            found[each["key"]] = [(int(point.get("step", 0)), _number(point["value"])) for point in history]
        return found

    def artifact(self, run: dict[str, Any], path: str) -> bytes:
        return self.get("get-artifact", run_uuid=run["info"]["run_id"], path=path)


def _number(value: float | str) -> float | None:
    return None if math.isnan(float(value)) else float(value)


@contextmanager
def mlflow_server(folder: Path) -> Iterator[MlflowServer]:
    """Starts a server with its store in a folder, and ends it."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(str(SERVER), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
                *(
                    "--backend-store-uri",
                    f"sqlite:///{folder}/store.db",
                    "--artifacts-destination",
                    str(folder / "files"),
                ),
            ],
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    server = MlflowServer(process, port)
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                assert server.get("health") == b"OK"
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.3)
        yield server
    finally:
        end_group(process)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kills a process that leads a group, and the group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)


def wandb_run(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Configuration and rows of the only offline run of a run directory."""
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    command = [sys.executable, "-m", "tests.support.wandb_file", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    document = json.loads(done.stdout)
    return document["config"], document["rows"]


def curves_of_rows(rows: list[dict[str, Any]]) -> Curves:
    found: Curves = defaultdict(list)
    for row in rows:
        for name, value in row.items():
            if name != "step":
                found[name].append((row["step"], None if value == "NaN" else value))
    return dict(found)


def tensorboard_curves(folder: Path) -> Curves:
    """Scalars of all event files, in the order of the files."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util.tensor_util import make_ndarray

    found: Curves = defaultdict(list)
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if re.match(r"(train|validation|test)/", value.tag):
                    found[value.tag].append((event.step, float(make_ndarray(value.tensor))))
    return dict(found)
