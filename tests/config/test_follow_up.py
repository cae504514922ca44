"""Commands that messages print work as they are printed."""

import shlex
from pathlib import Path

import pytest

from tfscale.config import follow_up
from tfscale.config.overrides import parse, separate


@pytest.mark.parametrize("folder", ["runs", "other", "a,b=ü", "/tmp/with a space", "it's"])
@pytest.mark.parametrize("trust", [[], ["mine"], ["mine", "other.module"]])
def test_a_shell_and_the_command_read_what_was_meant(folder: str, trust: list[str]) -> None:
    """`go on with: tfscale resume one` lacked trust=[mine], without which it was refused."""
    line = follow_up.command("resume", Path(folder) / "one", trust, "train.steps=4")
    program, name, run, *words = shlex.split(line)
    assert (program, name, run) == ("tfscale", "resume", "one")
    given, rest = separate(parse(words), ("run.dir",))
    assert given.get("run.dir", "runs") == folder
    values = {each.key_or_group: each.value() for each in rest}
    assert values == {"train.steps": 4, **({"trust": trust} if trust else {})}


def test_the_folder_is_left_out_where_it_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder called runs elsewhere was left out, too, and the run was not found."""
    monkeypatch.chdir(tmp_path)
    assert follow_up.command("evaluate", tmp_path / "runs" / "one", [], by_key=True) == "tfscale evaluate run=one"
    elsewhere = follow_up.command("evaluate", Path("/x/runs/one"), [])
    assert elsewhere == "tfscale evaluate one run.dir=/x/runs"
