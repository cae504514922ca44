"""Passwords in addresses leave a run's config.yaml for no other file and no server."""

from pathlib import Path

import pytest

from tests.support.run_folders import new_run
from tfscale.report.read import read_run
from tfscale.runs import provenance
from tfscale.userinfo import without_userinfo


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:password@host:5000/x", "http://***@host:5000/x"),
        ("tracker.mlflow.tracking_uri=https://token@host", "tracker.mlflow.tracking_uri=https://***@host"),
        ("a 'postgresql+psycopg://u:p@ss@host/db' http://b", "a 'postgresql+psycopg://***@host/db' http://b"),
        ("[http://u:p@a,http://v:q@b]", "[http://***@a,http://***@b]"),
        ("http://host/a@b and me@example.org", "http://host/a@b and me@example.org"),
    ],
)
def test_userinfo_becomes_stars(text: str, shown: str) -> None:
    assert without_userinfo(text) == shown
    assert without_userinfo({"a": [text, 3, None, {"b": text}]}) == {"a": [shown, 3, None, {"b": shown}]}


ADDRESS = "tracker.mlflow.tracking_uri=http://user:secret@host:5000"


def test_environment_json_has_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "environment.json"
    provenance.begin(path, ["tfscale", "train", ADDRESS], [ADDRESS])
    provenance.begin(path, ["tfscale", "resume", "one", f"{ADDRESS}/2"], [f"{ADDRESS}/2"])
    provenance.add(path, {"reproduces": {"run": "http://u:secret@h"}})
    assert "secret" not in path.read_text()
    assert provenance.starts(path)[1]["overrides"] == ["tracker.mlflow.tracking_uri=http://***@host:5000/2"]


def test_a_report_has_no_password_not_even_of_an_earlier_run(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="the packages of the extra mlflow are not installed; type: make extras")
    path = new_run(tmp_path, "one", "tracker=mlflow", ADDRESS)
    (path / "environment.json").write_text(f'{{"command": "tfscale train {ADDRESS}"}}')
    run = read_run(path, "one")
    assert "secret" in (path / "config.yaml").read_text(), "the run needs it to go on"
    assert run.config["tracker"]["mlflow"]["tracking_uri"] == "http://***@host:5000"
    assert run.environment["command"] == "tfscale train tracker.mlflow.tracking_uri=http://***@host:5000"
