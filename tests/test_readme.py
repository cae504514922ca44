"""Every command in the README is run, on small stand-ins for the data sets, for two steps."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.removeprefix("$ ").split(" #")[0].strip()
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 12
    assert all(command.startswith(("tfscale ", "horovodrun ")) for command in COMMANDS)


def test_make_has_the_readmes_targets() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"train", "test", "test-fast", "lint", "types", "help"} <= targets
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_recipes_in_the_readme_exist() -> None:
    named = set(re.findall(r"recipe=(\w+)", README))
    assert named == {path.stem for path in (ROOT / "recipes").glob("*.yaml")}


def block(start: str) -> str:
    """The code block of the README that begins with `start`."""
    return next(each for each in re.findall(r"```\w+\n(.*?)```", README, re.DOTALL) if each.startswith(start))


def test_the_readmes_own_code_trains(tmp_path: Path) -> None:
    (tmp_path / "mymodule.py").write_text(block("import keras"))
    for name in ("model/net.yaml", "data/points.yaml"):
        (tmp_path / "my" / name).parent.mkdir(parents=True)
        (tmp_path / "my" / name).write_text(block(f"# my/{name}"))
    (command,) = re.findall(r"`(tfscale train --config-dir my [^`]*)`", README)
    (tmp_path / "my" / "recipe").mkdir()
    (tmp_path / "my" / "recipe" / "mine.yaml").write_text((ROOT / "recipes" / "sweep_digits.yaml").read_text())
    words = [sys.executable, "-m", *shlex.split(command), "train.steps=3"]
    for more in ([], ["recipe=mine", "launch.np=1"]):
        done = subprocess.run([*words, *more], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.horovod
def test_every_command_works_in_the_order_of_the_readme(tmp_path: Path, small_data: Path) -> None:
    binaries = Path(sys.executable).parent
    environment = {
        **os.environ,
        "TFSCALE_DATA": str(small_data),
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
    }
    for command in COMMANDS:
        words = shlex.split(command)
        if {"train", "resume"} & set(words) and "--cfg" not in words:
            words.append("train.steps=3" if "resume" in words else "train.steps=2")  # one must be left to resume
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
