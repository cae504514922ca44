"""What is read of a run directory, in every state and with every kind of damage."""

import json
import os
from pathlib import Path

import pytest

from tests.support.run_folders import ended_run, new_run, step_record, write_events, write_records
from tfscale.report.read import read_run
from tfscale.runs.events import EventLog
from tfscale.runs.run_directory import RunDirectory
from tfscale.supervision.heartbeat import Heartbeat
from tfscale.supervision.phase import Phase


def test_a_run_that_has_ended_is_read_whole(tmp_path: Path) -> None:
    run = read_run(ended_run(tmp_path, "x", "train.batch=32", steps=60), "x")
    assert (run.state, run.step, run.notes) == ("done", 60, [])
    assert run.config["train"]["batch"] == 32
    assert [len(run.records[kind]) for kind in ("step", "train", "validation", "test")] == [60, 3, 3, 1]
    assert run.records["step"].column("loss")[0] == step_record(1)["loss"]
    assert len(run.events) == 5


def test_states_are_told_apart(tmp_path: Path) -> None:
    new, failed, stopped, training = (new_run(tmp_path, name) for name in ("new", "failed", "stopped", "training"))
    write_events(failed, 9, killed=False)
    EventLog(failed / "events.jsonl").note("end", code=1, cause="no")
    EventLog(stopped / "events.jsonl").note("end", code=143, cause="stopped by SIGTERM")
    Heartbeat(RunDirectory(training).heartbeat(0), timeout=1.0)(Phase.STEP, 7)
    with RunDirectory(training).locked():
        assert read_run(training, "x").state == "training"
        assert read_run(training, "x").step == 7
    assert [read_run(path, "x").state for path in (new, failed, stopped)] == ["ended early", "failed", "stopped"]
    assert read_run(new, "x").step is None


def test_a_figure_that_some_records_lack_is_missing_there_only(tmp_path: Path) -> None:
    path = new_run(tmp_path, "x")
    write_records(
        path, [{"kind": "step", "step": 1, "loss": None}, {"kind": "step", "step": 2, "loss": 2.0, "late": 5.0}]
    )
    write_records(
        path, [{"kind": "step", "step": 3, "loss": "3", "late": True}, {"kind": "tensor", "step": 3, "a": 1.0}]
    )
    records = read_run(path, "x").records["step"]
    assert [str(value) for value in records.column("loss")] == ["nan", "2.0", "nan"]
    assert [str(value) for value in records.column("late")] == ["nan", "5.0", "nan"]
    assert records.names() == ["loss", "late"]


@pytest.mark.parametrize("file", ["summary.json", "environment.json", "evaluation.json", "figures.json"])
@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b'"x"'])
def test_a_damaged_document_is_a_note(tmp_path: Path, file: str, content: bytes) -> None:
    path = new_run(tmp_path, "x")
    (path / file).write_bytes(content)
    run = read_run(path, "x")
    assert [note.split(" cannot")[0] for note in run.notes] == [file]
    assert run.state == "ended early"


def test_damaged_records_are_counted_and_left_out(tmp_path: Path) -> None:
    path = new_run(tmp_path, "x")
    write_records(path, [step_record(1)])
    with (path / "metrics.jsonl").open("ab") as stream:
        stream.write(
            b'\n[1]\n7\n{"kind": "step"}\n{"kind": "step", "step": 1' + b"0" * 400 + b'}\n\xff\xfe\n{"kind": "st'
        )
    run = read_run(path, "x")
    assert run.notes == ["7 line(s) of metrics.jsonl are damaged and left out"]
    assert len(run.records["step"]) == 1


def test_a_damaged_configuration_is_a_note(tmp_path: Path) -> None:
    path = new_run(tmp_path, "x")
    for text in ("a: [", "- 1", "seed: !!python/object/apply:os.system [true]", "", "a: &a [*a]"):
        (path / "config.yaml").write_text(text)
        run = read_run(path, "x")
        assert run.config == {}
        assert run.notes[0].startswith("config.yaml cannot be read: "), text


def test_pipes_and_folders_in_place_of_files_do_not_block(tmp_path: Path) -> None:
    path = new_run(tmp_path, "x")
    for name in ("summary.json", "events.jsonl", "metrics.jsonl"):
        os.mkfifo(path / name)
    (path / "environment.json").mkdir()
    assert read_run(path, "x").records["step"].names() == []


def test_settings_of_an_earlier_release_are_read_under_their_present_names(tmp_path: Path) -> None:
    path = new_run(tmp_path, "x")
    (path / "config.yaml").write_text("seed: 3\nschedule:\n  _target_: tfscale.training.schedules.constant\n")
    assert read_run(path, "x").config["schedule"]["warmup_steps"] == 0


def test_remarks_come_with_their_steps(tmp_path: Path) -> None:
    path = new_run(tmp_path, "x")
    write_records(path, [{"kind": "remark", "step": 5, "words": "learning rate 0.1"}])
    assert read_run(path, "x").remarks == [(5, "learning rate 0.1")]
    assert json.dumps(read_run(path, "x").summary) == "{}"
