"""What a person sees."""

import io

import pytest
from rich.console import Console

from tfscale.tracking.console import ConsoleTracker, closing_table, human_bytes, results_table

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


def test_plain_lines_without_a_terminal() -> None:
    out = console()
    tracker = ConsoleTracker(out, steps=100, start=0)
    tracker.progress(1)
    tracker.step({"step": 50, "loss": 0.5, "samples_per_second": 1234.0, "density": 0.001, "bytes_sent": 2048})
    tracker.evaluation({"step": 100, "loss": 0.25, "accuracy": 0.9})
    tracker.close()
    assert text(out).splitlines() == [
        "step  50/100  loss 0.5000  1,234 samples/s  density 1.00e-03  2.0 KB sent",
        "step 100/100  test: loss 0.2500  accuracy 0.9000",
    ]


def test_a_bar_on_a_terminal() -> None:
    out = console(terminal=True)
    tracker = ConsoleTracker(out, steps=100, start=20)
    tracker.progress(50)
    tracker.step({"step": 50, "loss": 0.5, "samples_per_second": 1234.0})
    tracker.close()
    assert "50/100" in text(out)
    assert "loss 0.5000" in text(out)


def test_the_closing_table_says_result_bytes_and_what_to_do_next() -> None:
    out = console()
    closing_table(out, SUMMARY, ["tfscale evaluate run=one"])
    for words in (
        "0.9877",
        "1,876",
        "41.2 s",
        "188.2 times fewer",
        "3 (a gradient was not finite)",
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
