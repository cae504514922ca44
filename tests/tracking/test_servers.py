"""Real other sides: an MLflow server, W&B offline and TensorBoard hold what metrics.jsonl holds, after kills too."""

import json
import os
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml
from psutil import process_iter

from tests.support import killed_training
from tests.support.forked_commands import BEFORE, ROOT, forked
from tests.support.processes import wait_until
from tests.support.tracked import (
    SERVER,
    Curves,
    MlflowServer,
    curves_of,
    curves_of_rows,
    end_group,
    free_port,
    mlflow_server,
    tensorboard_curves,
    wandb_run,
)
from tfscale.dotted_keys import flattened, without_empty
from tfscale.runs.events import read_events

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_process_is_left_behind")]
MISSING = [name for name in ("mlflow", "wandb", "tensorboard") if find_spec(name) is None]
needs_packages = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}; type: make extras")
needs_server = pytest.mark.skipif(not SERVER.exists(), reason=f"no MLflow server in {SERVER}; type: make extras")

JOB = (
    *("train", "strategy=local", "strategy.replicas=2", "data.validation=0.1", "train.steps=50", "train.log_every=5"),
    *("train.evaluate_every=10", "train.checkpoint_every=10", "tracker.mlflow.experiment=killed"),
    *("tracker=[mlflow,wandb,tensorboard]", "tracker.wandb.mode=offline", f"run.name={killed_training.RUN}"),
)


@pytest.fixture
def no_process_is_left_behind(tmp_path: Path) -> Iterator[None]:
    """W&B's own processes end with the run; its empty temporary folders stay when a run is killed."""
    yield
    wait_until(lambda: not any(tmp_path in Path(each.info["cwd"] or "").parents for each in process_iter(["cwd"])))


@pytest.fixture
def server(no_process_is_left_behind: None, tmp_path: Path) -> Iterator[MlflowServer]:
    """A server that ends before the test looks for processes."""
    with mlflow_server(tmp_path / "server") as running:
        yield running


def ran(folder: Path, *words: str, code: int = 0, **environment: str) -> str:
    """Runs a command, whose exit code must be `code`; returns what it said."""
    (folder / "work").mkdir(exist_ok=True)
    whole = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder), **environment}
    got, said = forked().run(words, folder / "work", whole)
    assert got == code, said
    return said


def assert_same(curves: Curves, reference: Curves) -> None:
    """Compares curves by name first, so that a failure is short."""
    assert curves.keys() == reference.keys()
    for name, points in reference.items():
        assert curves[name] == points, name


def assert_all_the_same(run: Path, server: MlflowServer) -> None:
    """Compares the curves of all trackers with metrics.jsonl."""
    reference = curves_of(run / "metrics.jsonl")
    assert {"train/loss", "train/learning_rate", "validation/accuracy", "test/accuracy"} <= reference.keys()
    (there,) = server.runs("killed")
    measured = server.curves(there)
    assert_same({name: each for name, each in measured.items() if not name.startswith("summary/")}, reference)
    assert_same(curves_of_rows(wandb_run(run)[1]), reference)
    exact = tensorboard_curves(run / "tensorboard")  # float32
    assert_same(exact, {name: [(step, float(np.float32(y))) for step, y in each] for name, each in reference.items()})


@needs_packages
@needs_server
def test_a_run_with_two_kills_is_one_run_everywhere_with_the_curves_of_metrics_jsonl(
    server: MlflowServer, tmp_path: Path
) -> None:
    uri = f"tracker.mlflow.tracking_uri={server.address}"
    kill = {BEFORE: f"{killed_training.__name__}:{killed_training.twice.__name__}"}
    said = ran(tmp_path, *JOB, uri, **kill)
    run = tmp_path / "work" / "runs" / killed_training.RUN
    assert "going on after step 20" in said and "going on after step 30" in said and "warning" not in said, said
    assert [event["event"] for event in read_events(run / "events.jsonl")].count("start") == 3
    loss = curves_of(run / "metrics.jsonl")["train/loss"]
    assert [step for step, _ in loss] == list(range(5, 55, 5))
    assert_all_the_same(run, server)

    config = without_empty(flattened(yaml.safe_load((run / "config.yaml").read_text())))
    assert config.pop("resume") is True
    (there,) = server.runs("killed")
    assert there["info"]["status"] == "FINISHED"
    texts = {name: each if isinstance(each, str) else json.dumps(each) for name, each in config.items()}
    assert {each["key"]: each["value"] for each in there["data"]["params"]} == texts
    settings, _ = wandb_run(run)
    command = json.loads((run / "environment.json").read_text())["command"]
    assert settings.pop("origin") == {"command": command}
    assert without_empty(flattened(settings)) == config
    summary = json.loads((run / "summary.json").read_text())
    logged = {name.removeprefix("summary/"): each for name, each in server.curves(there).items()}
    assert logged["accuracy"] == [(50, summary["accuracy"])]
    assert logged["best_step"] == [(50, float(summary["best_step"]))]
    tags = {each["key"]: each["value"] for each in there["data"]["tags"]}
    assert tags["summary.parameters_sha256"] == summary["parameters_sha256"]
    (offline,) = run.glob("wandb/offline-run-*")
    assert tags["command"] == command
    for name in ("summary.json", "config.yaml", "environment.json", "curves.png", "model.keras"):
        assert server.artifact(there, name) == (offline / "files" / name).read_bytes() == (run / name).read_bytes()

    ran(tmp_path, "resume", killed_training.RUN, "train.steps=60")
    assert_all_the_same(run, server)
    (there,) = server.runs("killed")
    assert {each["key"]: each["value"] for each in there["data"]["tags"]}["train.steps"] == "60"
    assert server.artifact(there, "summary.json") == (run / "summary.json").read_bytes()


SHORT = ("train", "train.steps=20", "train.log_every=5", "run.name=one")


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        yield listening.getsockname()[1]


def warnings_of(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("warning: ")]


@needs_packages
@pytest.mark.parametrize("kind", ["nobody listens", "nobody answers"])
def test_an_mlflow_server_that_is_not_there_is_one_warning(tmp_path: Path, silent: int, kind: str) -> None:
    port = silent if kind == "nobody answers" else free_port()
    words = (f"tracker.mlflow.tracking_uri=http://127.0.0.1:{port}", "tracker.mlflow.timeout=4")
    (warning,) = warnings_of(ran(tmp_path, *SHORT, "tracker=mlflow", *words))
    assert warning.startswith("warning: tracker.mlflow gets no more records, and the run goes on: "), warning
    assert (tmp_path / "work" / "runs" / "one" / "summary.json").exists()


@needs_packages
@pytest.mark.parametrize("kind", ["nobody listens", "nobody answers"])
def test_a_wandb_server_that_is_not_there_is_one_warning(tmp_path: Path, silent: int, kind: str) -> None:
    port = silent if kind == "nobody answers" else free_port()
    said = ran(
        tmp_path,
        *(*SHORT, "tracker=wandb", "tracker.wandb.timeout=4"),
        WANDB_BASE_URL=f"http://127.0.0.1:{port}",
        WANDB_API_KEY="0" * 40,
    )
    (warning,) = warnings_of(said)
    assert warning.startswith("warning: tracker.wandb gets no more records, and the run goes on: "), warning
    assert (tmp_path / "work" / "runs" / "one" / "summary.json").exists()


@needs_packages
def test_wandb_without_a_login_is_exit_code_2_and_says_what_to_type(tmp_path: Path) -> None:
    said = ran(tmp_path, *SHORT, "tracker=wandb", code=2)
    assert "tracker=wandb must have a login, got none; type: wandb login, or tracker.wandb.mode=offline" in said


@needs_packages
@needs_server
def test_a_server_that_dies_is_one_warning_and_gets_the_rest_when_the_run_is_resumed(tmp_path: Path) -> None:
    """The server is killed after a step, and started again before the run is resumed."""
    with mlflow_server(tmp_path / "server") as server:
        (tmp_path / "work").mkdir()
        (tmp_path / "work" / "assassin.py").write_text(ASSASSIN)
        words = (f"tracker.mlflow.tracking_uri={server.address}", "tracker.mlflow.timeout=4", "tracker=mlflow")
        killer = ("+callbacks.assassin._target_=assassin.Assassin", f"+callbacks.assassin.pid={server.process.pid}")
        said = ran(tmp_path, *SHORT, *words, *killer, "trust=[assassin]")
        (warning,) = warnings_of(said)
        assert warning.startswith("warning: tracker.mlflow gets no more records, and the run goes on: "), warning
        end_group(server.process)
    run = tmp_path / "work" / "runs" / "one"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["steps"] == 20
    with mlflow_server(tmp_path / "server") as server:
        (before,) = server.runs("tfscale")
        assert server.curves(before)["train/loss"] == curves_of(run / "metrics.jsonl")["train/loss"][:1]
        again = (f"tracker.mlflow.tracking_uri={server.address}", "callbacks.assassin.pid=null", "trust=[assassin]")
        assert not warnings_of(ran(tmp_path, "resume", "one", "train.steps=25", *again))
        (after,) = server.runs("tfscale")
        curves = {name: each for name, each in server.curves(after).items() if not name.startswith("summary/")}
        assert_same(curves, curves_of(run / "metrics.jsonl"))


ASSASSIN = """
import os, signal, time, keras

class Assassin(keras.callbacks.Callback):
    def __init__(self, pid):
        super().__init__()
        self.pid, self.steps = pid, 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        if self.pid and self.steps == 8:
            time.sleep(3)  # the record of step 5 arrives
            os.killpg(self.pid, signal.SIGKILL)
"""
