"""What a person sees."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from tfscale.tracking.base import Kind, Measurement, RunInfo
from tfscale.tracking.console import ConsoleTracker
from tfscale.tracking.tables import closing_table, human_bytes, results_table

SUMMARY = {
    "name": "one",
    "metrics": ["accuracy"],
    "accuracy": 0.98765,
    "steps": 1876,
    "epochs": 4.0,
    "examples": 240000,
    "seconds": 41.23,
    "first_step_seconds": 0.4,
    "samples_per_second": 8981.2,
    "replicas": 2,
    "processes": 2,
    "bytes_sent": 34000000,
    "bytes_dense": 6400000000,
    "bytes_ratio": 188.2,
    "skipped_steps": 3,
    "skipped_examples": 1234,
    "directory": "runs/one",
}


def console(terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=120, force_terminal=terminal)


def text(of: Console) -> str:
    assert isinstance(of.file, io.StringIO)
    return of.file.getvalue()


@pytest.mark.parametrize(("count", "words"), [(0, "0 B"), (1536, "1.5 KB"), (5 << 30, "5.0 GB"), (3 << 40, "3.0 TB")])
def test_bytes_for_people(count: int, words: str) -> None:
    assert human_bytes(count) == words


def started(out: Console, *, start: int = 0, processes: int = 2) -> ConsoleTracker:
    """A tracker of a run of 100 steps whose strategy measures a density."""
    tracker = ConsoleTracker(out)
    density = Measurement(label="density", line="density {:.2e}", averaged=True, goal="target 0.002")
    tracker.start(
        RunInfo(
            name="one",
            folder=Path("runs/one"),
            config={},
            start=start,
            steps=100,
            processes=processes,
            measurements={"density": density},
        )
    )
    return tracker


@pytest.mark.parametrize(("share", "words"), [(0.35, "35% waiting for data"), (0.09, None)])
def test_a_line_says_when_steps_wait_for_data(share: float, words: str | None) -> None:
    out = console()
    started(out).log(Kind.TRAIN, 50, {"loss": 0.5, "samples_per_second": 9.0, "data_share": share})
    assert ("waiting" in text(out)) == (words is not None)
    assert words is None or words in text(out)


def test_plain_lines_without_a_terminal() -> None:
    out = console()
    tracker = started(out)
    tracker.progress(1)
    tracker.log(Kind.TRAIN, 50, {"loss": 0.5, "samples_per_second": 1234.0, "density": 0.001, "bytes_sent": 2048})
    tracker.log(Kind.STEP, 50, {"loss": 0.5})
    tracker.log(Kind.VALIDATION, 100, {"loss": 0.25, "accuracy": 0.9})
    tracker.finish()
    assert text(out).splitlines() == [
        "step  50/100  loss 0.5000  1,234 samples/s  density 1.00e-03  2.0 KB sent",
        "step 100/100  validation: loss 0.2500  accuracy 0.9000",
    ]


def test_nothing_was_sent_by_a_single_process() -> None:
    """What replicas of one process would exchange if they were apart is counted, but it goes nowhere."""
    out = console()
    tracker = started(out, processes=1)
    tracker.log(Kind.TRAIN, 50, {"loss": 0.5, "samples_per_second": 1234.0, "bytes_sent": 2048})
    assert text(out).splitlines() == ["step  50/100  loss 0.5000  1,234 samples/s"]
    closing_table(out, {**SUMMARY, "processes": 1, "bytes_ratio": 1.0}, [], {})
    assert "none left the process; between processes: 32.4 MB" in text(out)
    assert "(as many)" in text(out)


def test_lines_on_a_terminal_that_cannot_redraw(monkeypatch: pytest.MonkeyPatch) -> None:
    """TERM=dumb had neither a bar nor lines."""
    monkeypatch.setenv("TERM", "dumb")
    out = console(terminal=True)
    tracker = started(out)
    tracker.log(Kind.TRAIN, 50, {"loss": 0.5, "samples_per_second": 1234.0})
    tracker.finish()
    assert "loss 0.5000" in text(out)


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = console(terminal=True)
    tracker = started(out, start=20)
    tracker.progress(50)
    tracker.log(Kind.TRAIN, 50, {"loss": 0.5, "samples_per_second": 1234.0})
    tracker.finish()
    assert "50/100" in text(out)
    assert "loss 0.5000" in text(out)


def test_the_closing_table_says_result_bytes_and_what_to_do_next() -> None:
    out = console()
    density = Measurement(label="density", averaged=True, goal="target 0.002")
    times = {"encode_ms": Measurement(label="encode", unit="ms", averaged=True)}
    means = {"mean_density": 0.0021, "mean_encode_ms": 0.25, "mean_seconds": 0.0123, "mean_data_seconds": 0.004}
    closing_table(out, {**SUMMARY, **means}, ["tfscale evaluate run=one"], {"density": density, **times})
    for words in (
        "0.9877",
        "1,876",
        "41.2 s",
        "188.2 times fewer",
        "mean density",
        "2.1e-03 (target 0.002)",
        "12.3 ms, of it waiting for data 4.00 ms, encode 0.25 ms",
        "3 (a gradient was not finite)",
        "1,234 (they cannot be read)",
        "evaluate run=one",
    ):
        assert words in text(out)


def test_a_table_shows_missing_values_as_blanks() -> None:
    out = console()
    results_table(out, "sweep", [{"job": "job-000", "accuracy": None}, {"job": "job-001", "accuracy": 0.5}])
    assert "job-001" in text(out)
    assert "None" not in text(out)


def test_a_table_shows_brackets_as_they_are() -> None:
    stream = io.StringIO()
    results_table(Console(file=stream, width=80), "runs", [{"last trouble": "cannot read [/data/x]"}])
    assert "cannot read [/data/x]" in stream.getvalue()
