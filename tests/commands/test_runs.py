"""tfscale runs: what it says of runs in every state."""

import json
from pathlib import Path

import pytest

from tfscale.commands import runs
from tfscale.runs.events import EventLog, read_events
from tfscale.runs.run_directory import RunDirectory, create
from tfscale.supervision.heartbeat import Heartbeat
from tfscale.supervision.phase import Phase


def run(folder: Path, name: str) -> RunDirectory:
    """The folder of a run that has been started."""
    directory = create(folder, name, "x")
    (directory.path / "config.yaml").write_text("seed: 1")
    return directory


def test_events_come_back_and_half_a_line_is_left_out(tmp_path: Path) -> None:
    record = EventLog(tmp_path / "m.jsonl")
    record.note("start", processes=[7, 8], restarts=0)
    record.note("end", code=1)
    with (tmp_path / "m.jsonl").open("a") as stream:
        stream.write('[3]\n{"event": "sta')
    assert [event["event"] for event in read_events(tmp_path / "m.jsonl")] == ["start", "end"]
    assert read_events(tmp_path / "none") == []


def test_every_state_has_its_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "runs"
    done, failed, stopped, early, training = (
        run(folder, name) for name in ("done", "failed", "stopped", "early", "training")
    )
    done.summary.write_text(json.dumps({"metrics": ["accuracy"], "accuracy": 0.9, "steps": 77, "processes": 2}))
    record = EventLog(done.events)
    record.note("start", processes=[1, 2], restarts=0)
    record.note("end", code=1, cause="rank 1 (process 2) was killed by SIGKILL. Its log: x")
    record.note("start", processes=[3, 4], restarts=1)
    record.note("training", step=50, seconds_lost=2.25)
    record.note("end", code=0, cause=None)
    EventLog(failed.events).note("end", code=1, cause="rank 0 failed: no. Its log: x")
    EventLog(stopped.events).note("end", code=143, cause="stopped by SIGTERM; go on with x")
    Heartbeat(early.heartbeat(0), timeout=1.0)(Phase.STEP, 12)
    Heartbeat(early.heartbeat(1), timeout=1.0)(Phase.STEP, 11)
    with training.locked():
        assert runs.main([f"run.dir={folder}"]) == 0
    rows = {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if line.startswith("│")}
    cells = {name: [cell.strip() for cell in row.strip("│").split("│")] for name, row in rows.items()}
    cause = "rank 1 (process 2) was killed by SIGKILL"
    assert cells["done"] == ["done", "done", "77", "accuracy 0.9", "2", "1", "2.2", cause]
    assert cells["failed"][1:] == ["failed", "", "", "", "0", "0", "rank 0 failed: no"]
    assert cells["stopped"][1:] == ["stopped", "", "", "", "0", "0", "stopped by SIGTERM"]
    assert cells["early"][1:3] == ["ended early", "11"]
    assert cells["training"][1] == "training"
