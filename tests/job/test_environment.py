"""The origin of a run, as trackers get it."""

import json
from pathlib import Path

import pytest

from tfscale.job.environment import origin


@pytest.mark.parametrize("content", [None, "{", "[1]", '{"git": 3}'])
def test_a_damaged_or_missing_file_gives_no_origin_and_stops_no_run(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "environment.json").write_text(content)
    assert origin(tmp_path / "environment.json") == {}


def test_the_origin_is_the_command_and_the_repository(tmp_path: Path) -> None:
    path = tmp_path / "environment.json"
    git = {"root": "/mine", "commit": "abc", "dirty": None}
    path.write_text(json.dumps({"command": "tfscale train data.url=http://u:p@h", "git": git}))
    assert origin(path) == {
        "command": "tfscale train data.url=http://***@h",
        "git.root": "/mine",
        "git.commit": "abc",
    }
