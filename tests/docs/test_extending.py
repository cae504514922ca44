"""The page on extending: its steps work in a copy of the repository, and a test names a file that was left out."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

from tests.support.forked_commands import ForkedCommands
from tests.support.pages import ROOT, Shell, blocks, patch, write

PAGE = ROOT / "docs" / "extending.md"
BLOCKS = blocks(PAGE)
MOST_FILES = 4

LINKS = ("conf", "recipes", "scripts")
"""Folders that an installation has inside the package."""


def changed(text: str) -> str:
    """The file that a diff block changes."""
    return text.split("\n", 1)[0].removeprefix("--- ").strip()


def follow(root: Path, without: Collection[tuple[str, str]] = ()) -> None:
    """Copies the repository to `root` and applies the page, but for some (heading, file)."""
    for name in ("conf", "recipes", "scripts", "tests", "tfscale"):
        shutil.copytree(ROOT / name, root / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in LINKS:
        place = root / "tfscale" / name
        if not place.is_symlink():
            place.symlink_to(Path("..") / name)
    shutil.copy(ROOT / "pyproject.toml", root)
    for block in BLOCKS:
        if block.path is not None and (block.heading, block.path) not in without:
            write(block, root)
        if block.language == "diff" and (block.heading, changed(block.text)) not in without:
            patch(block.text, root)


def pytest_in(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs some tests of a copy."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rfE", *words],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_each_part_needs_at_most_four_files_which_exist() -> None:
    rows = re.findall(r"^\| \[[a-z ]+\]\(#[a-z-]+\) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    assert len(rows) == 8
    for row in rows:
        files = re.findall(r"`([^`]+)`", row)
        assert len(files) <= MOST_FILES, row
        assert all((ROOT / name).exists() for name in files), row
    for heading in {block.heading for block in BLOCKS}:
        own = [block for block in BLOCKS if block.heading == heading]
        files = {block.path or changed(block.text) for block in own if block.path or block.language == "diff"}
        files = {path for path in files if not path.endswith("/__init__.py")}
        assert len(files) <= MOST_FILES, heading


@pytest.mark.slow
def test_the_steps_of_the_page_work(tmp_path: Path, small_data: Path) -> None:
    root = tmp_path / "copy"
    follow(root)
    commands = [command for block in BLOCKS for command in block.commands]
    assert len(commands) >= 8
    with ForkedCommands(root) as tfscale:
        shell = Shell(root, small_data, tfscale, root)
        said = {command: shell.run(command) for command in commands}
    assert '"name": "shown"' in said["tfscale show shown"]
    assert "│ test cross_entropy" in said["tfscale train metrics=cross_entropy run.name=measured"]
    assert (root / "runs" / "tracked" / "evaluations.csv").read_text().startswith("2,")
    new = "adamax or Adamax or cross_entropy or linear or wine or SignVoting or sign_voting or table"
    files = ("tests/config/test_options.py", "tests/models/test_models.py", "tests/strategies/test_contracts.py")
    done = pytest_in(root, *files, "tests/test_layers.py", "-k", f"{new} or test_layers")
    assert done.returncode == 0, done.stdout
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) >= 18


@pytest.mark.slow
def test_a_test_names_what_was_left_out(tmp_path: Path) -> None:
    follow(
        tmp_path,
        without={
            ("An optimizer option", "tfscale/config/schemas/optimizers.py"),
            ("A metric", "tfscale/config/schemas/losses.py"),
            ("A model", "tests/models/test_models.py"),
            ("A strategy", "tests/support/in_place.py"),
        },
    )
    files = ("tests/config/test_options.py", "tests/models/test_models.py", "tests/strategies/test_contracts.py")
    done = pytest_in(tmp_path, *files, "-k", "table")
    assert done.returncode == 1, done.stdout
    for option, target in (
        ("optimizer/adamax", "keras.optimizers.Adamax"),
        ("metrics/cross_entropy", "keras.metrics.SparseCategoricalCrossentropy"),
    ):
        assert f"conf/{option}.yaml: {target} has no table in tfscale/config/schemas/" in done.stdout
    assert "test_every_shipped_model_is_in_the_table" in done.stdout and "'linear'" in done.stdout
    assert "test_every_shipped_strategy_is_in_the_table" in done.stdout and "'sign_voting'" in done.stdout
