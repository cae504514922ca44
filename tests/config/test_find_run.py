"""Runs are found by their name, their path, as the job of a sweep, or as the latest."""

import os
from pathlib import Path

import pytest

from tfscale.config.find_run import all_runs, find, names_and_values
from tfscale.errors import UserError


def run(path: Path, started: int = 0) -> Path:
    path.mkdir(parents=True)
    (path / "config.yaml").write_text("seed: 1")
    os.utime(path / "config.yaml", (started, started))
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    run(folder / "one", 1)
    run(folder / "s" / "job-000", 2)
    run(folder / "s" / "job-001", 9)
    run(folder / "t" / "job-000", 3)
    (folder / "other" / "x").mkdir(parents=True)
    return folder


def test_jobs_of_sweeps_are_runs(runs: Path) -> None:
    """`tfscale runs` and `tfscale resume job-001` did not see them."""
    names = [str(path.relative_to(runs)) for path in all_runs(runs)]
    assert names == ["one", "s/job-000", "s/job-001", "t/job-000"]
    assert all_runs(runs / "none") == []


def test_a_run_has_several_names(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)
    assert find("one", runs) == runs / "one"
    assert find("s/job-000", runs) == runs / "s" / "job-000"
    assert find("job-001", runs) == runs / "s" / "job-001"
    assert find("latest", runs) == runs / "s" / "job-001"
    assert find(str(runs / "one"), Path("none")) == runs / "one"
    assert find("one", Path("none")) == Path("one")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("job-000", "job-000 is a job of several sweeps in .*runs; name one: s/job-000 and t/job-000"),
        ("s", "s is a sweep; name one of its jobs: s/job-000, s/job-001"),
        ("none", "run none does not exist in .*runs; runs there: one"),
    ],
)
def test_a_name_that_is_not_that_of_one_run_is_refused(runs: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find(name, runs)


def test_names_are_told_from_overrides() -> None:
    words = ["one", "seed=1", "~trust", "~/runs/two", "run.dir=x"]
    assert names_and_values(words) == (["one", "~/runs/two"], ["seed=1", "~trust", "run.dir=x"])
