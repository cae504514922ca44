"""Sweeps: all combinations, jobs in processes of their own, on after a failure, a table of results."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from tfscale.config.overrides import parse
from tfscale.search.grid import expand


def test_all_combinations_the_last_fastest() -> None:
    jobs = expand(parse(["strategy=local,sharing", "seed=1", "optimizer.learning_rate=0.01,0.05"]))
    assert [list(job.overrides) for job in jobs] == [
        ["strategy=local", "seed=1", "optimizer.learning_rate=0.01"],
        ["strategy=local", "seed=1", "optimizer.learning_rate=0.05"],
        ["strategy=sharing", "seed=1", "optimizer.learning_rate=0.01"],
        ["strategy=sharing", "seed=1", "optimizer.learning_rate=0.05"],
    ]
    assert jobs[3].varied == {"strategy": "sharing", "optimizer.learning_rate": "0.05"}


def test_ranges_and_choices_of_hydra_work() -> None:
    assert len(expand(parse(["seed=range(1,4)", "strategy=choice(local,horovod)"]))) == 6


def test_without_values_to_vary_there_is_one_job() -> None:
    assert [job.name for job in expand(parse(["seed=3"]))] == ["job-000"]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def sweep(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tfscale", "train", "-m", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_job_that_fails_does_not_end_the_sweep(tmp_path: Path) -> None:
    """filters=[] passes the rules but is no model; the third job can only fail once it runs."""
    (tmp_path / "own.py").write_text(
        "import keras\n"
        "def net(*, input_shape, classes, width):\n"
        "    if width == 13:\n"
        "        raise RuntimeError('an unlucky width')\n"
        "    return keras.Sequential([keras.Input(tuple(input_shape)), keras.layers.Flatten(),\n"
        "        keras.layers.Dense(width), keras.layers.Dense(classes, activation='softmax')])\n"
    )
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "own.yaml").write_text(
        "_target_: own.net\ninput_shape: auto\nclasses: auto\nwidth: 4\n"
    )
    words = [
        "--config-dir",
        "conf",
        "model=own",
        "trust=[own]",
        "model.width=8,13,16",
        "train.steps=3",
        "run.name=s",
    ]
    done = sweep(tmp_path, *words)
    assert done.returncode == 1, done.stderr
    rows = table(tmp_path / "runs" / "s" / "summary.csv")
    assert [row["model.width"] for row in rows] == ["8", "13", "16"]
    assert [row["status"] for row in rows] == ["done", "failed (1)", "done"]
    assert float(rows[0]["accuracy"]) > 0
    assert float(rows[2]["samples_per_second"]) > 0
    assert rows[1]["accuracy"] == ""
    assert "an unlucky width" in (tmp_path / "runs" / "s" / "job-001.log").read_text()


def test_every_job_is_checked_before_the_first_starts(tmp_path: Path) -> None:
    done = sweep(tmp_path, "train.batch=8,-1", "strategy=local,sharin")
    assert done.returncode == 2
    assert (
        "job 2 (train.batch=-1 strategy=local): train.batch must be a whole number from 1 to 1e9, got -1" in done.stderr
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.horovod
def test_a_sweep_over_strategies_starts_processes_for_each(tmp_path: Path) -> None:
    done = sweep(tmp_path, "strategy=local,horovod,sharing", "train.steps=20", "launch.np=2")
    assert done.returncode == 0, done.stderr
    (place,) = (tmp_path / "runs").glob("*/summary.csv")
    rows = table(place)
    assert [row["strategy"] for row in rows] == ["local", "horovod", "sharing"]
    sharing, horovod, dense = int(rows[2]["bytes_sent"]), int(rows[1]["bytes_sent"]), int(rows[1]["bytes_dense"])
    assert 0 < sharing < horovod
    assert horovod == pytest.approx(dense, rel=1e-3), "and a digest a replica"
