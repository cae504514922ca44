"""Panels of curves: which there are, how many points they have, and what becomes of values that cannot be drawn."""

import json
import math
from pathlib import Path

import numpy as np

from tests.support.run_folders import ended_run, new_run, step_record, write_records
from tfscale.report.curves import clock_of, global_batch, is_shortened, panels_of_run, panels_of_runs
from tfscale.report.read import read_run


def test_a_run_has_a_panel_for_each_figure(tmp_path: Path) -> None:
    run = read_run(ended_run(tmp_path, "x", "strategy=sharing", shares=True), "x")
    panels = [panel.document() for panel in panels_of_run(run, 600)]
    assert [panel["title"] for panel in panels] == [
        *("loss", "accuracy", "learning rate", "speed since the start", "time of a step"),
        *("density: elements sent / all", "threshold", "largest |residual| / threshold"),
        *("bytes sent a step, all replicas here", "milliseconds a step"),
    ]
    assert [line["label"] for line in panels[0]["lines"]] == ["training", "validation", "test"]
    assert [line["label"] for line in panels[-1]["lines"]] == ["encode", "exchange", "decode"]
    assert panels[5]["log"] is True
    assert set(panels[-2]["lines"][0]["y"]) == {1000.0}  # the increase of a total


def test_a_comparison_has_a_line_for_each_run_in_its_colour(tmp_path: Path) -> None:
    one = read_run(ended_run(tmp_path, "one"), "one")
    two = read_run(ended_run(tmp_path, "two", "strategy=sharing", shares=True), "two")
    panels = {panel.title: panel.document() for panel in panels_of_runs([one, two], 600)}
    assert [line["label"] for line in panels["training loss"]["lines"]] == ["one", "two"]
    assert [line["color"] for line in panels["density"]["lines"]] == [2]  # that of `two` in every panel
    assert "validation accuracy" in panels


def test_a_long_run_becomes_few_medians_with_a_band(tmp_path: Path) -> None:
    path = new_run(tmp_path, "x")
    rng = np.random.default_rng(0)
    write_records(path, ({**step_record(n), "loss": 1 + rng.random()} for n in range(1, 5001)))
    run = read_run(path, "x")
    (line,) = panels_of_run(run, 100)[0].document()["lines"]
    assert is_shortened(run, 100) and not is_shortened(run, 5000)
    assert len(line["x"]) == len(line["y"]) == len(line["low"]) == 100
    assert line["x"][-1] == 5000
    assert all(low < middle < high for low, middle, high in zip(line["low"], line["y"], line["high"], strict=True))


def test_values_that_are_not_finite_leave_no_trace_in_the_json(tmp_path: Path) -> None:
    path = new_run(tmp_path, "x")
    losses = [1.0, math.nan, math.inf, None, "x", -1.0, 0.0, 1e308]
    write_records(path, ({**step_record(n), "loss": loss} for n, loss in enumerate(losses, 1)))
    (line,) = panels_of_run(read_run(path, "x"), 600)[0].document()["lines"]
    assert (line["x"], line["y"]) == ([1, 6, 7], [1.0, -1.0, 0.0])
    json.dumps(line, allow_nan=False)


def test_a_single_value_is_no_curve_and_a_run_without_records_has_none(tmp_path: Path) -> None:
    path = new_run(tmp_path, "x")
    assert panels_of_run(read_run(path, "x"), 600) == []
    write_records(path, [step_record(1)])
    assert panels_of_run(read_run(path, "x"), 600) == []


def test_a_step_stands_for_examples_and_seconds(tmp_path: Path) -> None:
    run = read_run(ended_run(tmp_path, "x", steps=100), "x")
    clock = clock_of(run)
    assert clock["examples"] == global_batch(run) == 32
    assert (clock["steps"][0], clock["steps"][-1], clock["seconds"][-1]) == (0, 100, 0.4)
    early = read_run(new_run(tmp_path, "early", "train.batch=8"), "early")
    assert global_batch(early) == 16  # from the settings
    assert clock_of(early)["steps"] == [0]
