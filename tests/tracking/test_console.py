"""What a person sees."""

import io
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tfscale.tracking.base import Kind, Measurement, Monitored, RunInfo
from tfscale.tracking.console import ConsoleTracker
from tfscale.tracking.evaluation_lines import LINES
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


def test_a_table_shows_brackets_and_keys_as_they_are() -> None:
    """A sweep's table had a column `optimizer.learning rate`, which is not a key."""
    out = console()
    results_table(out, "runs", [{"optimizer.learning_rate": 0.1, "last trouble": "cannot read [/data/x]"}])
    assert "cannot read [/data/x]" in text(out)
    assert "optimizer.learning_rate" in text(out)


def test_nothing_that_a_person_copies_is_cut_at_80_columns() -> None:
    """The row `files` of the closing table ended in `…` in a terminal of 80 columns."""
    path, name = "/data/" + 9 * "a-long-folder/" + "runs/one", "sweep-001/" + 4 * "a-long-name-" + "1"
    stream = io.StringIO()
    narrow = Console(file=stream, width=80, force_terminal=True, color_system=None)
    command = f"tfscale evaluate run=one run.dir={path}"
    closing_table(narrow, {**SUMMARY, "directory": path}, [command], {})
    results_table(narrow, f"runs in {path}", [{"run": name, "a": 3 * "long value "} for _ in range(2)])
    lines = stream.getvalue().splitlines()
    assert f"  files: {path}" in lines
    assert f"  {command}" in lines
    assert f"runs in {path}" in lines
    assert sum(line.startswith(name) for line in lines) == 2
    assert "…" not in stream.getvalue()


def test_the_closing_table_has_the_best_evaluation() -> None:
    """It was in summary.json only."""
    out = console()
    closing_table(out, {**SUMMARY, "best": 0.97917, "best_step": 1025, "best_metric": "accuracy"}, [], {})
    assert re.search(r"best validation accuracy +│ 0.9792 at step 1,025", text(out))
    out = console()
    closing_table(out, {**SUMMARY, "best": None, "best_step": -1, "best_metric": "accuracy"}, [], {})
    assert "best" not in text(out)


def validated(out: Console, count: int, values: list[float], *, start: int = 0) -> list[int]:
    """Evaluates every 10 steps; returns the steps of the evaluations that have a line."""
    tracker = ConsoleTracker(out)
    monitored = Monitored(name="accuracy", direction="max", best=math.nan if start == 0 else max(values[:start]))
    tracker.start(
        RunInfo(
            name="one",
            folder=Path("runs/one"),
            config={},
            start=10 * start,
            steps=10 * count,
            processes=1,
            evaluate_every=10,
            monitored=monitored,
        )
    )
    for index in range(start, count):
        tracker.log(Kind.VALIDATION, 10 * (index + 1), {"loss": 0.5, "accuracy": values[index]})
    tracker.finish()
    return [int(step) for step in re.findall(r"step +(\d+)/\d+  validation", text(out))]


@pytest.mark.parametrize("count", [1, 7, LINES, LINES + 1, 30, 1000])
def test_evaluations_fill_at_most_a_screen(count: int) -> None:
    """30 epochs printed 30 lines."""
    lines = validated(console(), count, [0.5] * count)
    assert len(lines) <= LINES + 1
    assert len(lines) >= min(count, LINES // 2)
    assert lines[-1] == 10 * count
    half = count // 2
    assert lines == sorted({*(line for line in lines if line <= 10 * half), *validated_from(count, half)})


def validated_from(count: int, start: int) -> list[int]:
    return validated(console(), count, [0.5] * count, start=start)


def test_on_a_terminal_an_evaluation_has_a_line_if_it_is_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    accuracies = [0.5, 0.6, 0.55, 0.7, 0.65, 0.6]
    out = console(terminal=True)
    assert validated(out, 6, accuracies) == [10, 20, 40, 60]
    assert "accuracy 0.6000 (best 0.7000)" in text(out), "the bar shows the others"
    assert validated(console(terminal=True), 6, accuracies, start=4) == [60], "the best of earlier starts counts"
    rising = validated(console(terminal=True), 1000, [index / 1000 for index in range(1000)])
    assert len(rising) <= LINES + 1


def test_at_80_columns_the_bar_and_the_evaluation_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """rich took the columns of the step and the bar for the figures of training: `s… loss 1.4176  3,246 samples/s`."""
    monkeypatch.setenv("TERM", "xterm")
    out = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    tracker = ConsoleTracker(out)
    monitored = Monitored(name="accuracy", direction="max")
    run = RunInfo(name="one", folder=Path("x"), config={}, start=0, steps=1230, processes=1, evaluate_every=10)
    tracker.start(replace(run, monitored=monitored))
    tracker.log(Kind.TRAIN, 50, {"loss": 0.5, "samples_per_second": 1234.0, "data_share": 0.3})
    for accuracy in (0.75, 0.5):
        tracker.log(Kind.VALIDATION, 50, {"loss": 0.5, "accuracy": accuracy})
    tracker.progress(615)
    tracker.finish()
    bars = [line for line in re.split(r"[\r\n]+", text(out)) if "615/1230" in line]
    assert bars, text(out)
    assert re.search(r"step +615/1230 ━+ +\S+ accuracy 0\.5000 \(best 0\.7500\)", bars[-1])


def test_a_run_that_ends_early_has_a_line_for_its_last_evaluation() -> None:
    out = console()
    tracker = ConsoleTracker(out)
    tracker.start(
        RunInfo(name="one", folder=Path("x"), config={}, start=0, steps=10_000, processes=1, evaluate_every=10)
    )
    for step in range(10, 80, 10):
        tracker.log(Kind.VALIDATION, step, {"loss": step / 100})
    tracker.log(Kind.TEST, 70, {"loss": 0.25})
    tracker.finish()
    assert text(out).splitlines() == [
        "step    70/10000  validation: loss 0.7000",
        "step    70/10000  test: loss 0.2500",
    ]
