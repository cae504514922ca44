"""Sweeps: all combinations, jobs in processes of their own, on after a failure, a table of results."""

import csv
import json
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tfscale.config.overrides import parse
from tfscale.search import sweep as sweeping
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


def tfscale(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "tfscale", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def sweep(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return tfscale(folder, "train", "-m", *words)


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
    for row in (rows[0], rows[2]):
        assert f"done in {row['wall_seconds']} s ({float(row['seconds']):.1f} s of training)" in done.stdout
        assert 0 < float(row["seconds"]) < float(row["wall_seconds"]), "imports and start-up are no training"
    assert rows[1]["seconds"] == ""
    assert f"failed (1) in {rows[1]['wall_seconds']} s; " in done.stdout
    assert float(rows[2]["samples_per_second"]) > 0
    assert rows[1]["accuracy"] == ""
    assert "an unlucky width" in (tmp_path / "runs" / "s" / "job-001.log").read_text()


@pytest.mark.slow
def test_a_sweep_does_not_depend_on_the_folder_it_is_typed_in(tmp_path: Path) -> None:
    """Beside tfscale/, random.py or keras.py every job had an ImportError; `run.dir='a,b=ü'` failed in every job."""
    for name in ("random", "keras", "tfscale", "hydra", "subprocess", "socket", "sklearn"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('a module of the user')\n")
    for name in ("tfscale", "tensorflow"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('a package of the user')\n")
    (tmp_path / "own.py").write_text(
        "from tfscale.models.mlp import mlp\ndef net(**settings): return mlp(**settings)\n"
    )
    words = ["trust=[own]", "model._target_=own.net", "model.hidden=[4]"]
    words += ["train.steps=2", "run.dir='a,b=ü'", "run.name=s"]
    done = sweep(tmp_path, *words)
    assert done.returncode == 0, (tmp_path / "a,b=ü" / "s" / "job-000.log").read_text()
    assert [row["status"] for row in table(tmp_path / "a,b=ü" / "s" / "summary.csv")] == ["done"]

    again = sweep(tmp_path, *words)
    assert again.returncode == 2
    assert again.stderr.startswith(
        "tfscale: run.name=s exists in a,b=ü and cannot be resumed: it is a sweep or another folder; give another run.n"
    )
    listed = tfscale(tmp_path, "runs", "run.dir='a,b=ü'")
    assert "s/job-000" in listed.stdout

    lines = (tmp_path / "a,b=ü" / "s" / "job-000.log").read_text().splitlines()
    (printed,) = (line for line in lines if line.strip().startswith("tfscale evaluate run=job-000 "))
    evaluated = tfscale(tmp_path, *shlex.split(printed)[1:])
    assert evaluated.returncode == 0, evaluated.stderr
    assert (tmp_path / "a,b=ü" / "s" / "job-000" / "evaluation.json").is_file()


def test_every_job_is_checked_before_the_first_starts(tmp_path: Path) -> None:
    done = sweep(tmp_path, "train.batch=8,-1", "strategy=local,sharin")
    assert done.returncode == 2
    assert (
        "job 2 (train.batch=-1 strategy=local): train.batch must be a whole number from 1 to 1e9, got -1" in done.stderr
    )
    assert not (tmp_path / "runs").exists()


def ended(folder: Path, job: str, **results: object) -> Path:
    """The run directory of a job that has ended well."""
    run = folder / job
    run.mkdir(parents=True, exist_ok=True)
    (run / "summary.json").write_text(json.dumps({"metrics": ["accuracy"], **results}))
    return run


def written(folder: Path, *rows: dict[str, object]) -> None:
    with (folder / "summary.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_resumed_job_rewrites_its_row(tmp_path: Path) -> None:
    """summary.csv kept the results, or the failure, of before `tfscale resume SWEEP/job-001`."""
    before = {"job": "job-000", "seed": "1", "status": "done", "accuracy": "0.5", "wall_seconds": "2.5"}
    written(tmp_path, before, {**before, "job": "job-001", "seed": "2", "status": "failed (1)", "accuracy": ""})
    run = ended(tmp_path, "job-001", accuracy=0.75, seconds=3.0)
    sweeping.update_row(run, 0, 1.25)
    first, second = table(tmp_path / "summary.csv")
    assert {name: first[name] for name in before} == before
    assert [second[name] for name in ("seed", "status", "accuracy", "wall_seconds", "seconds")] == [
        *("2", "done", "0.75", "3.8", "3.0")
    ]
    sweeping.update_row(run, 143, 1.0)
    assert table(tmp_path / "summary.csv")[1]["status"] == "failed (143)"
    assert table(tmp_path / "summary.csv")[1]["accuracy"] == ""


def test_two_jobs_that_are_resumed_at_once_both_keep_their_rows(tmp_path: Path) -> None:
    """Each read the table and wrote it as a whole: the second one took the first one's row away."""
    written(tmp_path, {"job": "job-000", "status": "done", "accuracy": "0.5"})
    runs = [ended(tmp_path, f"job-{number:03}", accuracy=number / 64) for number in range(1, 17)]
    ready = threading.Barrier(len(runs))

    def update(run: Path) -> None:
        ready.wait()
        sweeping.update_row(run, 0, 1.0)

    threads = [threading.Thread(target=update, args=(run,)) for run in runs]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    rows = table(tmp_path / "summary.csv")
    assert [row["job"] for row in rows] == ["job-000", *(run.name for run in runs)]


def test_a_job_in_which_the_sweep_was_stopped_gets_a_row(tmp_path: Path) -> None:
    written(tmp_path, {"job": "job-000", "seed": "1", "optimizer": "sgd", "status": "done", "accuracy": "0.5"})
    run = ended(tmp_path, "job-001", accuracy=0.75)
    (run / "environment.json").write_text(json.dumps({"overrides": ["optimizer=adam", "train.steps=2", "seed=7"]}))
    sweeping.update_row(run, 0, 1.0)
    row = table(tmp_path / "summary.csv")[1]
    assert [row[name] for name in ("job", "seed", "optimizer", "status", "accuracy")] == [
        *("job-001", "7", "adam", "done", "0.75")
    ]


def test_a_run_of_no_sweep_has_no_row(tmp_path: Path) -> None:
    sweeping.update_row(ended(tmp_path, "one", accuracy=0.75), 0, 1.0)
    assert not (tmp_path / "summary.csv").exists()
    (tmp_path / "summary.csv").write_text("a,b\n1,2\n")
    sweeping.update_row(ended(tmp_path, "one", accuracy=0.75), 0, 1.0)
    assert (tmp_path / "summary.csv").read_text() == "a,b\n1,2\n", "a file of the user's"


@pytest.mark.parametrize(("direction", "best"), [("max", "job-001"), ("min", "job-002"), (None, None)])
def test_the_best_job_is_that_of_the_first_metric_in_its_direction(
    direction: str | None, best: str | None, tmp_path: Path
) -> None:
    values = {"job-000": 0.5, "job-001": 0.9, "job-002": 0.25, "job-003": None}
    for job, value in values.items():
        ended(tmp_path, job, metrics=["error", "accuracy"], error=value, accuracy=1.0, directions={"error": direction})
    rows = [{"job": job, "status": "done"} for job in values]
    found = sweeping.best([{"job": "job-009", "status": "failed (1)"}, *rows], tmp_path)
    assert (found and (found[0]["job"], found[1])) == (best and (best, "error"))
    assert sweeping.best(rows[:0], tmp_path) is None


@pytest.mark.slow
def test_a_sweep_names_its_best_job_and_a_resumed_job_changes_the_table(tmp_path: Path) -> None:
    done = sweep(tmp_path, "optimizer.learning_rate=1e-9,0.1", "train.steps=20", "run.name=s")
    assert done.returncode == 0, done.stderr
    assert "optimizer.learning_rate  status" in done.stdout
    (best,) = (line for line in done.stdout.splitlines() if line.startswith("best: "))
    rows = table(tmp_path / "runs" / "s" / "summary.csv")
    accuracy = float(rows[1]["accuracy"])
    assert best == f"best: job-001 (accuracy {accuracy:.4f}) optimizer.learning_rate=0.1"
    environment = json.loads((tmp_path / "runs" / "s" / "job-001" / "environment.json").read_text())
    assert environment["command"].startswith("tfscale train -m optimizer.learning_rate=1e-9,0.1 ")
    assert "optimizer.learning_rate=0.1" in environment["overrides"]
    resumed = tfscale(tmp_path, "resume", "s/job-001", "train.steps=60")
    assert resumed.returncode == 0, resumed.stderr
    first, second = table(tmp_path / "runs" / "s" / "summary.csv")
    assert first == rows[0]
    assert float(second["accuracy"]) > accuracy
    assert second["optimizer.learning_rate"] == "0.1"


@pytest.mark.slow
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
