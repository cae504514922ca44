"""Comparisons and sweeps: the table, the best run in the right direction, parallel coordinates."""

import json
import math
from pathlib import Path

import pytest

from tests.support.run_folders import ended_run, new_run, sweep_of_six
from tfscale.report import results
from tfscale.report.compare import Comparison, comparison
from tfscale.report.drawing import axis, strokes
from tfscale.report.read import read_run


def of_sweep(path: Path) -> Comparison:
    jobs = [job for job in sorted(path.glob("job-*")) if job.is_dir()]
    return comparison([read_run(job, job.name) for job in jobs], sweep=path)


def test_a_sweep_marks_its_best_job_and_varied_keys(tmp_path: Path) -> None:
    found = of_sweep(sweep_of_six(tmp_path))
    assert (found.title, found.metric, found.better, found.best) == ("sweep sweep", "accuracy", "max", "job-004")
    assert found.keys == ["optimizer.learning_rate", "train.batch"]
    assert [row.name for row in found.rows if row.is_best] == ["job-004"]
    assert [cell.text for cell in found.rows[4].cells[:3]] == ["0.1", "16", "0.9"]
    assert [each.name for each in found.axes] == ["optimizer.learning_rate", "train.batch", "accuracy"]
    assert len(found.strokes) == 6 and found.strokes[-1].row == 4  # on top
    assert found.drawn[0] == 4


def test_a_job_that_left_no_run_is_in_the_table(tmp_path: Path) -> None:
    last = of_sweep(sweep_of_six(tmp_path)).rows[-1]
    assert (last.name, last.state) == ("sweep/job-006", "failed (2)")
    assert [cell.text for cell in last.cells[:3]] == ["0.5", "64", ""]


@pytest.mark.parametrize(
    ("metric", "recorded", "better"),
    [
        ("accuracy", {"accuracy": "max"}, "max"),
        ("distance", {"distance": "max"}, "max"),  # as the metric says, whatever its name
        ("mae", {}, "min"),
        ("mean_squared_error", {}, "min"),
        ("rmse", {"rmse": None}, "min"),
        ("loss", {}, "min"),
        ("mean_absolute_error", "damaged", "min"),
        ("top3", {}, "max"),
    ],
)
def test_the_best_run_is_the_best_in_the_direction_of_the_metric(
    tmp_path: Path, metric: str, recorded: object, better: str
) -> None:
    runs = []
    for name, value in (("a", 0.3), ("b", 0.1), ("c", None), ("d", 0.9)):
        path = new_run(tmp_path, name)
        document = {"metrics": [metric], metric: value, "directions": recorded}
        (path / "summary.json").write_text(json.dumps(document))
        runs.append(read_run(path, name))
    assert comparison(runs, sweep=None).best == {"min": "b", "max": "d"}[better]


def test_runs_without_a_result_have_no_best(tmp_path: Path) -> None:
    runs = [read_run(new_run(tmp_path, name), name) for name in ("a", "b", "c")]
    found = comparison(runs, sweep=None)
    assert (found.best, found.axes, found.strokes, found.drawn) == (None, [], [], [])


def test_columns_that_no_run_has_are_left_out(tmp_path: Path) -> None:
    one = ended_run(tmp_path, "one")
    (one / "events.jsonl").unlink()
    two = ended_run(tmp_path, "two")
    (two / "events.jsonl").unlink()
    names = [name for name, _ in comparison([read_run(one, "one"), read_run(two, "two")], sweep=None).columns]
    assert names == ["accuracy", "loss", "steps", "training time", "samples/s", "bytes sent"]


def test_axes_are_logarithmic_numbers_or_categories() -> None:
    rates = axis("rate", ["0.001", "0.1", "", "0.01"])
    assert rates.places == [0.0, 1.0, None, pytest.approx(0.5)]
    batches = axis("batch", ["16", "32", "24"])
    assert batches.places == [0.0, 1.0, 0.5]
    names = axis("strategy", ["local", "sharing", "local"])
    assert names.places == [0.25, 0.75, 0.25]
    assert axis("one", ["5", "5"]).places == [0.5, 0.5]
    assert axis("none", ["", ""]).places == [None, None]
    assert axis("odd", ["nan", "1"]).ticks[0][1] == "nan"


def test_many_values_have_few_labels_that_do_not_overlap() -> None:
    ticks = axis("x", [str(value) for value in range(1000)]).ticks
    assert [label for _, label in ticks] == ["999", "499.5", "0"]
    close = axis("x", ["1", "1.01", "2"]).ticks
    assert [label for _, label in close] == ["2", "1.01"]


def test_a_stroke_has_a_gap_where_a_run_has_no_value() -> None:
    axes = [axis("a", ["1", "2"]), axis("b", ["", "x"]), axis("c", ["3", "4"])]
    assert strokes(axes, 200, 100) == ["M0 100M200 100", "M0 0L100 50L200 0"]


def test_figures_are_said_as_a_person_says_them() -> None:
    assert [results.short(value) for value in (0.12345, 1234.5, 12.0, None)] == ["0.1235", "1,234", "12", ""]
    assert [results.duration(value) for value in (1.94, 200, 7500.0, None)] == [
        *("1.9 s", "3 min 20 s", "2 h 05 min", "")
    ]
    assert results.number(math.nan) is None and results.number(10**400) is None and results.number(True) is None
    assert results.date(1e20) == results.date("x") == ""
