"""tfscale reproduce: the same bits or exit code 1, what differs beforehand, and runs that it refuses."""

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.forked_commands import forked
from tests.support.in_place import SMALL
from tfscale import cli
from tfscale.config import preflight, saved
from tfscale.runs import provenance
from tfscale.runs.comparison import comparison
from tfscale.runs.events import EventLog
from tfscale.runs.run_directory import RunDirectory, create


def tfscale(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return forked().completed(words, cwd, dict(os.environ))


def results(folder: Path, name: str) -> Mapping[str, Any]:
    return json.loads((folder / "runs" / name / "summary.json").read_text())


def test_a_run_that_early_stopping_ended_is_reproduced_bit_for_bit(tmp_path: Path) -> None:
    words = ("train.epochs=40", "train.batch=32", "data.validation=0.2", "early_stopping.patience=1", "run.name=one")
    trained = tfscale("train", *SMALL, *words, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    before = results(tmp_path, "one")
    assert "early_stopping.patience" in before["ended_early"]
    done = tfscale("reproduce", "one", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith(
        f"same bits as run one: parameters {before['parameters_sha256'][:16]}"
    )
    after = results(tmp_path, "one-reproduced-001")
    assert [after[key] for key in ("parameters_sha256", "steps", "ended_early")] == [
        before[key] for key in ("parameters_sha256", "steps", "ended_early")
    ]
    (facts,) = provenance.starts(tmp_path / "runs" / "one-reproduced-001" / "environment.json")
    assert facts["command"] == "tfscale reproduce one"
    assert facts["reproduces"]["run"] == str(tmp_path / "runs" / "one")
    assert facts["choices"] == provenance.starts(tmp_path / "runs" / "one" / "environment.json")[0]["choices"]


def examples(path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    x, y = random.standard_normal((64, 5)).astype(np.float32), random.integers(0, 3, 64)
    np.savez(path, x_train=x, y_train=y, x_test=x[:16], y_test=y[:16])


@pytest.mark.slow
def test_other_data_are_told_before_the_training_and_end_in_other_bits(tmp_path: Path) -> None:
    examples(tmp_path / "d.npz", 0)
    words = ("train", "data=npz", "data.file=d.npz", "train.steps=6", "train.batch=8", "run.name=one")
    trained = tfscale(*words, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    examples(tmp_path / "d.npz", 1)
    done = tfscale("reproduce", "one", "run.name=two", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    told = next(i for i, line in enumerate(lines) if "run one is being reproduced, and the data have changed" in line)
    assert told < next(i for i, line in enumerate(lines) if line.startswith("step "))
    end = lines.index("NOT the bits of run one:")
    assert lines[end + 1].startswith(f"  parameters_sha256: {results(tmp_path, 'one')['parameters_sha256']}, now ")
    assert re.match(r"  training losses differ from step 1 on: ", lines[-1])


@pytest.mark.slow
@pytest.mark.horovod
@pytest.mark.parametrize("moved", [[], ["launch.np=1"]], ids=["as it was", "in one process"])
def test_a_run_of_two_processes_is_reproduced_with_as_many(moved: list[str], tmp_path: Path) -> None:
    trained = tfscale(
        "train",
        *SMALL,
        "strategy=sharing",
        "launch.np=2",
        "train.steps=20",
        "train.batch=8",
        "run.name=one",
        cwd=tmp_path,
    )
    assert trained.returncode == 0, trained.stderr
    assert tfscale("resume", "one", "train.steps=30", cwd=tmp_path).returncode == 0
    done = tfscale("reproduce", "one", *moved, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "run one was resumed with train.steps=30; the new run has that from its first step" in done.stdout
    assert results(tmp_path, "one-reproduced-001")["processes"] == (1 if moved else 2)


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A run called one in the folder runs, with a configuration and results; nothing was trained."""
    monkeypatch.chdir(tmp_path)
    directory = create(Path("runs"), "one", "x")
    words = [*SMALL, "strategy.replicas=2", "train.steps=2", "run.name=one"]
    saved.write(preflight.check_job(preflight.preflight(words, config_dir=None), processes=1), directory.path)
    directory.summary.write_text(json.dumps({"steps": 2, "metrics": [], "parameters_sha256": "ab", "processes": 1}))
    return directory


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "reproduce must have one run, got none; type: tfscale reproduce NAME"),
        (["one", "two"], "reproduce must have one run, got one and two"),
        (["two"], "run two does not exist in runs; runs there: one"),
        (["one", "train.steps=3"], "train.steps cannot change: reproduce runs the same settings again"),
        (["one", "seed=3"], "seed cannot change: reproduce runs the same settings again"),
        (["one", "run.name=one"], "run.name=one exists in runs"),
        (["one", "run.name=a/b"], "run.name must be"),
        (["one", "launch.np=0"], "launch.np must be"),
    ],
)
def test_a_mistake_is_one_message_and_leaves_nothing_behind(
    finished: RunDirectory, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["reproduce", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert [path.name for path in Path("runs").iterdir()] == ["one"]


def test_a_run_without_results_of_its_settings_is_refused(
    finished: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused() -> str:
        assert cli.main(["reproduce", "one"]) == 2
        return capsys.readouterr().err

    with finished.locked():
        assert "run one is being trained; wait for its end" in refused()
    whole = json.loads(finished.summary.read_text())
    finished.summary.write_text(json.dumps({**whole, "ended_early": "train.max_time is over"}))
    assert refused().endswith("to an end that its settings determine: tfscale resume one train.max_time=null\n")
    finished.summary.unlink()
    assert "run one has no results to compare with (ended early); finish it first: tfscale resume one" in refused()
    EventLog(finished.events).note("end", code=143, cause="stopped by SIGTERM; go on after its last checkpoint with: x")
    assert "no results to compare with (stopped by SIGTERM); finish it first: tfscale resume one" in refused()


def reproducing(path: Path, before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """What is said of a start on `now` that reproduces a run on `before`."""
    provenance.begin(path, [], [], reproduces={"run": "/x/runs/one", "facts": dict(before)})
    provenance.add(path, now)
    return provenance.differences(path)


def test_what_differs_from_the_run_that_is_reproduced_is_named(tmp_path: Path) -> None:
    facts = {
        "tensorflow": "2.21",
        "data": "ab",
        "cpu": "old",
        "device": ["CPU"],
        "packages": {"rich": "1", "keras": "3"},
    }
    assert reproducing(tmp_path / "same.json", facts, {**facts, "host": "another"}) == []
    now = {**facts, "data": "cd", "cpu": "new", "packages": {"rich": "2", "yaml": "1"}}
    assert reproducing(tmp_path / "other.json", facts, now) == [
        "run one is being reproduced, and the data have changed: their digest was ab and is cd",
        "run one is being reproduced, and its bits may differ: cpu was old and is new; rich was 1 and is 2; "
        "yaml was None and is 1",
    ]
    (unknown,) = reproducing(tmp_path / "gone.json", {"tensorflow": "2.21"}, facts)
    assert "it is not known whether the data are the same" in unknown
    provenance.begin(tmp_path / "plain.json", ["tfscale", "train"], [])
    assert provenance.differences(tmp_path / "plain.json") == []


def ended(folder: Path, losses: list[float], **changed: object) -> RunDirectory:
    folder.mkdir()
    directory = RunDirectory(folder)
    records = [{"kind": "step", "step": step + 1, "loss": loss} for step, loss in enumerate(losses)]
    directory.metrics.write_text("".join(json.dumps(each) + "\n" for each in [*records, {"kind": "train", "step": 9}]))
    whole = {"metrics": ["accuracy"], "accuracy": 0.5, "loss": 0.25, "steps": 3, "parameters_sha256": "ab"}
    directory.summary.write_text(json.dumps({**whole, "seconds": len(losses), **changed}))
    return directory


def test_bits_that_differ_are_named_with_the_first_step(tmp_path: Path) -> None:
    old = ended(tmp_path / "old", [0.5, 0.25, 0.125])
    assert comparison(old, ended(tmp_path / "same", [0.5, 0.25, 0.125], seconds=7)) == (
        True,
        ["same bits as run old: parameters ab, accuracy 0.5"],
    )
    agrees, lines = comparison(old, ended(tmp_path / "new", [0.5, 0.2, 0.1], parameters_sha256="cd", accuracy=0.75))
    assert not agrees
    assert lines == [
        "NOT the bits of run old:",
        "  parameters_sha256: ab, now cd",
        "  accuracy: 0.5, now 0.75",
        "  training losses differ from step 2 on: 0.25, now 0.2",
    ]
    agrees, lines = comparison(old, ended(tmp_path / "end", [0.5, 0.25], loss=0.3))
    assert not agrees
    assert lines[-1] == "  training losses are the same at every step that both runs have"
