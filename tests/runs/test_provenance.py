"""environment.json: every start of a run, what was typed, and the code that it ran."""

import json
import subprocess
from pathlib import Path

import pytest

from tfscale.runs import provenance


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "environment.json"


def git(folder: Path, *words: str) -> str:
    own = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *own, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_first_start_stays_and_later_ones_are_what_differs(path: Path) -> None:
    provenance.begin(path, ["tfscale", "train", "data.file=a b.npz"], ["data.file=a b.npz"], choices={"model": "mlp"})
    provenance.add(path, {"tensorflow": "2.21", "cpu": "one"})
    provenance.add(path, {"tensorflow": "2.21", "cpu": "one"})  # started again by the supervisor
    first = json.loads(path.read_text())
    assert first["command"] == "tfscale train 'data.file=a b.npz'"
    assert "starts" not in first
    provenance.begin(path, ["tfscale", "resume", "one"], ["resume=true"])
    provenance.add(path, {"tensorflow": "2.22", "cpu": "one"})
    document = json.loads(path.read_text())
    (later,) = document.pop("starts")
    assert document == first
    assert later.keys() - {"started"} == {"command", "overrides", "tensorflow"}
    whole = provenance.starts(path)
    assert [each["tensorflow"] for each in whole] == ["2.21", "2.22"]
    assert whole[1]["cpu"] == "one"
    assert whole[1]["choices"] == {"model": "mlp"}


def test_there_are_at_most_20_starts_with_the_first_among_them(path: Path) -> None:
    for index in range(30):
        provenance.begin(path, ["tfscale", str(index)], [])
    kept = [each["command"] for each in provenance.starts(path)]
    assert kept == ["tfscale 0", *(f"tfscale {index}" for index in range(11, 30))]
    assert len(kept) == provenance.MOST_STARTS


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"starts": 3}', "\x00" * 9])
def test_a_damaged_file_stops_no_run(path: Path, content: str) -> None:
    path.write_text(content)
    provenance.begin(path, ["tfscale", "train"], [])
    provenance.add(path, {"cpu": "one"})
    assert provenance.starts(path)[-1]["cpu"] == "one"


def test_the_file_of_an_earlier_version_is_a_first_start_without_a_command(path: Path) -> None:
    path.write_text(json.dumps({"tensorflow": "2.20"}))
    provenance.begin(path, ["tfscale", "resume", "one"], [])
    assert [each.get("command") for each in provenance.starts(path)] == [None, "tfscale resume one"]


def test_a_job_of_a_sweep_has_the_command_that_the_user_typed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(provenance.COMMAND, "tfscale train -m seed=1,2")
    provenance.begin(path, ["tfscale", "train", "seed=1"], ["seed=1"])
    provenance.begin(path, ["tfscale", "resume", "job-000"], [])
    commands = [each["command"] for each in provenance.starts(path)]
    assert commands == ["tfscale train -m seed=1,2", "tfscale resume job-000"], "the variable is used once"


def test_values_of_the_environment_are_not_recorded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123-secret-4567")
    provenance.begin(path, ["tfscale", "train"], [])
    provenance.add(path, provenance.machine())
    assert "secret" not in path.read_text()


def test_commit_and_changes_of_the_repository_of_the_current_folder(path: Path, tmp_path: Path) -> None:
    assert provenance.repository(tmp_path) is None
    git(tmp_path, "init", "--quiet")
    assert provenance.repository(tmp_path) is None, "no commit yet"
    (tmp_path / "mine.py").write_text("x = 1")
    git(tmp_path, "add", "mine.py")
    git(tmp_path, "commit", "--quiet", "-m", "mine")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "metrics").write_text("of no commit")
    commit = git(tmp_path, "rev-parse", "HEAD")
    wanted = {"root": str(tmp_path), "commit": commit, "dirty": False}
    assert provenance.repository(tmp_path / "runs") == wanted
    (tmp_path / "mine.py").write_text("x = 2")
    assert provenance.repository(tmp_path) == {**wanted, "dirty": True}
    provenance.begin(path, ["tfscale", "train"], [])
    assert provenance.starts(path)[0]["git"] == {**wanted, "dirty": True}


def test_without_git_the_commit_is_unknown(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "--quiet")
    monkeypatch.setenv("PATH", "/nowhere")
    provenance.begin(path, ["tfscale", "train"], [])
    assert provenance.starts(path)[0]["git"] is None


def test_the_machine_has_a_cpu_memory_and_packages() -> None:
    facts = provenance.machine()
    assert facts["cpu"]
    assert facts["memory"] > 1 << 28
    assert facts["packages"]["tensorflow"]
    assert list(facts["packages"]) == sorted(facts["packages"], key=str.lower)
