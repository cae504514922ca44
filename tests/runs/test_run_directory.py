"""Run directories: one a run, whoever asks; failures told apart by time."""

import json
import threading
from pathlib import Path

import pytest

from tfscale.errors import UserError
from tfscale.runs.events import EventLog, read_events
from tfscale.runs.run_directory import OLD_EVENTS, Failure, RunDirectory, create
from tfscale.supervision.attempt import ENDED, Attempt, had_ended


def test_runs_without_a_name_are_numbered(tmp_path: Path) -> None:
    assert [create(tmp_path / "runs", None, "mlp").path.name for _ in range(3)] == [
        "mlp-001",
        "mlp-002",
        "mlp-003",
    ]


def test_numbering_is_safe_among_many(tmp_path: Path) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(create(tmp_path, None, "mlp").path)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 16


def test_an_existing_name_says_both_ways_out(tmp_path: Path) -> None:
    create(tmp_path, "one", "mlp")
    with pytest.raises(UserError, match=r"type tfscale resume one to go on with it, or give another run.name"):
        create(tmp_path, "one", "mlp")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"run.dir must be a folder"):
        create(tmp_path / "file", None, "mlp")
    with pytest.raises(UserError, match=r"run.dir must be a folder"):
        create(tmp_path / "file" / "deeper", None, "mlp")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not there or cannot be written to"):
        RunDirectory(tmp_path / "none")


def test_only_a_run_that_never_began_is_discarded(tmp_path: Path) -> None:
    """And by the process that made it: a folder that came from elsewhere may hold anything."""
    begun, empty = create(tmp_path, "begun", "x"), create(tmp_path, "empty", "x")
    (tmp_path / "given").mkdir()
    begun.metrics.write_text("{}")
    for directory in (begun, empty, RunDirectory(tmp_path / "given")):
        directory.discard()
    assert {path.name for path in tmp_path.iterdir()} == {"begun", "given"}


def test_the_earliest_failure_is_the_cause(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    assert directory.first_failure(1) is None
    for rank, restarts, when, message, retryable in (
        (0, 1, 20.0, "a collective failed", True),
        (1, 0, 5.0, "of the start before, written late", False),
        (2, 1, 10.0, "disk full", False),
    ):
        failure = Failure(rank=rank, restarts=restarts, when=when, message=message, code=1, retryable=retryable)
        directory.record_failure(failure)
    first = directory.first_failure(1)
    assert first is not None
    assert (first.rank, first.message, first.retryable) == (2, "disk full", False)


def test_an_earlier_start_is_forgotten(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.record_failure(Failure(rank=0, restarts=0, when=20.0, message="disk full", code=1, retryable=False))
    (directory.logs / "stop-before.at").write_text("1 15")
    directory.log(0).write_text("what it said stays")
    directory.clear_failures()
    assert [path.name for path in directory.logs.iterdir()] == ["rank-0.log"]


def test_a_run_is_trained_by_one_at_a_time(tmp_path: Path) -> None:
    directory = create(tmp_path, "one", "mlp")
    assert not directory.is_locked()
    with directory.locked():
        assert RunDirectory(directory.path).is_locked()
        with (
            pytest.raises(UserError, match=r"run one in .* is being trained; wait for its end, or stop it first"),
            RunDirectory(directory.path).locked(),
        ):
            pass
    assert not directory.is_locked()


def test_where_a_run_has_ended_is_in_its_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has started this process knows whether it had before."""
    directory = RunDirectory(tmp_path)
    for content in ("", "[]", '{"steps": Infinity}', "[" * 100_000):
        directory.summary.write_text(content)
        assert directory.ended_after() is None
    directory.summary.write_text('{"steps": 40}')
    assert directory.ended_after() == 40
    monkeypatch.delenv(ENDED, raising=False)
    assert had_ended(40) == 40
    for ended in (None, 20):
        monkeypatch.setenv(ENDED, Attempt(processes=1, ended=ended).environment[ENDED])
        assert had_ended(40) == ended


def test_events_of_an_old_run_directory_are_read_and_continued(tmp_path: Path) -> None:
    """The file was membership.jsonl until 2026-11-27: a run resumed after that has one history, not two."""
    (tmp_path / OLD_EVENTS).write_text('{"event": "start", "restarts": 0, "processes": [1, 2]}\n')
    directory = RunDirectory(tmp_path)
    EventLog(directory.events).note("end", code=0)
    assert [event["event"] for event in read_events(RunDirectory(tmp_path).events)] == ["start", "end"]
    assert not (tmp_path / "events.jsonl").exists()


def test_failures_as_old_versions_recorded_them_are_skipped(tmp_path: Path) -> None:
    """Fields had other names; such a failure belongs to an earlier start, which does not count anyway."""
    directory = RunDirectory(tmp_path)
    record = {"rank": 0, "restarts": 0, "when": 1.0, "message": "x", "code": 1, "again": True}
    (directory.logs / "rank-0.error").write_text(json.dumps(record))
    assert directory.first_failure(0) is None
