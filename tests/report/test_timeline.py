"""Timelines of the ranks as the page shows them."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.run_folders import ended_run, new_run, write_timeline
from tfscale.report.drawing import bars
from tfscale.report.read import read_run
from tfscale.report.timeline import GROUPS, RANKS, timeline_of
from tfscale.supervision.phase import Phase


def test_every_phase_belongs_to_one_group() -> None:
    assert sorted(phase.value for phases in GROUPS.values() for phase in phases) == sorted(each.value for each in Phase)


def test_times_of_all_ranks_and_starts_are_laid_on_one_axis(tmp_path: Path) -> None:
    found = timeline_of(read_run(ended_run(tmp_path, "x", ranks=2), "x"))
    assert found is not None
    assert found.length == 10.0 and [rank.rank for rank in found.ranks] == [0, 1]
    assert list(found.groups[:3]) == ["waiting for data", "step", "encode"]
    for rank in found.ranks:
        assert rank.bins.sum() == pytest.approx(8.0)  # two starts of four seconds
        middle = rank.bins[:, rank.bins.shape[1] * 45 // 100 : rank.bins.shape[1] * 55 // 100]
        assert not middle.any()  # nothing ran there
    waiting, step, encode = (found.ranks[1].of_step[index] for index in range(3))
    assert [waiting, step, encode] == pytest.approx([0.3 / 20, 0.5 / 20, 0.1 / 20])  # what is measured is taken out


def test_the_first_step_does_not_count_in_the_mean(tmp_path: Path) -> None:
    path = new_run(tmp_path, "x")
    (path / "timeline").mkdir()
    windows = [
        {"began": 5.0, "start": 0, "labels": {}},
        {"at": 0, "length": 9, "steps": [0, 1], "phases": {"a step": 9}, "within": {}},
        {"at": 9, "length": 1, "steps": [1, 11], "phases": {"a step": 1}, "within": {}},
    ]
    (path / "timeline" / "rank-0.jsonl").write_text("\n".join(map(json.dumps, windows)))
    found = timeline_of(read_run(path, "x"))
    assert found is not None
    assert found.ranks[0].of_step[1] == pytest.approx(0.1)


def test_bars_fill_the_wall_time_and_no_more(tmp_path: Path) -> None:
    found = timeline_of(read_run(ended_run(tmp_path, "x"), "x"))
    assert found is not None
    shapes = dict(bars(found, found.ranks[0]))
    assert {found.groups[group] for group in shapes} == {
        *("waiting for data", "step", "encode", "saving", "starting, compiling")
    }
    assert all(path.startswith("M") and path.endswith("z") for path in shapes.values())
    assert "nan" not in "".join(shapes.values())


def test_many_ranks_are_counted_and_left_out(tmp_path: Path) -> None:
    path = new_run(tmp_path, "x")
    for rank in range(RANKS + 3):
        write_timeline(path, rank, 100)
    found = timeline_of(read_run(path, "x"))
    assert found is not None
    assert (len(found.ranks), found.left_out) == (RANKS, 3)


@pytest.mark.parametrize(
    "line",
    [
        *("{", "[1]", "7", "null", "[" * 99_999),
        '{"at": 0}',
        '{"at": -1, "length": 1, "steps": [0, 1], "phases": {}, "within": {}}',
        '{"at": NaN, "length": 1, "steps": [0, 1], "phases": {}, "within": {}}',
        '{"at": 0, "length": 1e999, "steps": [0, 1], "phases": {"a step": "x"}, "within": {}}',
        '{"at": 0, "length": 1, "steps": [0], "phases": {"a step": 1}, "within": {}}',
        '{"began": 1, "start": null, "labels": 5}',
    ],
)
def test_damaged_lines_are_left_out(tmp_path: Path, line: str) -> None:
    path = new_run(tmp_path, "x")
    write_timeline(path, 0, 100)
    file = path / "timeline" / "rank-0.jsonl"
    whole = timeline_of(read_run(path, "x"))
    file.write_text(f"{file.read_text()}{line}\n")
    found = timeline_of(read_run(path, "x"))
    assert found is not None and whole is not None
    assert np.array_equal(found.ranks[0].totals, whole.ranks[0].totals)


def test_a_run_of_before_has_no_timeline(tmp_path: Path) -> None:
    path = new_run(tmp_path, "x")
    assert timeline_of(read_run(path, "x")) is None
    (path / "timeline").mkdir()
    (path / "timeline" / "rank-x.jsonl").write_text("")
    (path / "timeline" / "rank-0.jsonl").write_text("")
    assert timeline_of(read_run(path, "x")) is None
