"""The pages of docs/: they build without a warning, every command works, every key, recipe and script exists."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.forked_commands import forked
from tests.support.pages import README, ROOT, Shell, blocks, known_settings, pages, settings, write
from tfscale.config.compose import recipe_texts

DOCS = [path for path in pages() if path != README]
OWN_TEST = ("extending.md", "messages.md")
"""Pages whose blocks have a test of their own: they change the repository, or are compared with it."""

EXCEPTED = 26
"""Commands that no test runs: they install, download, or need packages, root, GPUs, MPI, Slurm or several hosts."""


def test_every_page_is_in_the_navigation() -> None:
    assert {path.name for path in DOCS} == {path.name for path in (ROOT / "docs").glob("*.md")}
    assert len(DOCS) >= 12


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""
    assert "optimizer.learning_rate" in (tmp_path / "configuration.html").read_text()


def test_commands_that_cannot_be_run_are_counted_and_say_why() -> None:
    excepted = [line for page in pages() for block in blocks(page) for line in block.excepted]
    assert len(excepted) == EXCEPTED, "\n".join(excepted)
    assert all(len(line.split("# not tested: ")[1]) > 5 for line in excepted)


def test_every_code_block_is_one_that_tests_know() -> None:
    """A file, a diff, commands; or text and TOML that nobody runs."""
    for page in pages():
        for block in blocks(page):
            assert block.language in ("console", "python", "yaml", "diff", "text", "toml"), f"{page.name}: {block}"
            assert block.language not in ("python", "yaml") or block.path is not None, f"{page.name}: {block}"
            assert block.language != "console" or block.lines, f"{page.name}: {block}"


def test_every_command_is_written_once() -> None:
    commands = [command for page in DOCS for block in blocks(page) for command in block.commands]
    assert len(commands) > 35
    assert sorted(set(commands)) == sorted(commands)


def test_every_key_exists() -> None:
    groups, known = {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()}, known_settings()
    named = {(page.name, key) for page in pages() for key in settings(page) if key.split(".")[0] in groups}
    assert len(named) > 50
    suffixes = (".yaml", ".py", ".png", ".jsonl", ".keras")
    assert not [f"{page}: {key}" for page, key in sorted(named) if key not in known and not key.endswith(suffixes)]


def test_every_recipe_is_named_and_exists() -> None:
    named = {name for page in pages() for name in re.findall(r"recipe=(\w+)", page.read_text())}
    assert named - {"mine"} == recipe_texts().keys()


def test_every_script_has_the_flags_that_pages_give_it() -> None:
    calls = [
        call
        for page in pages()
        for call in re.findall(r"python -m (tfscale\.scripts[\w.]+)([^`#\n]*)", page.read_text())
    ]
    assert len(calls) > 10
    for module, rest in calls:
        spec = importlib.util.find_spec(module)
        assert spec is not None and spec.origin is not None, module
        main = Path(spec.origin).with_name("__main__.py") if spec.name.endswith("chaos") else Path(spec.origin)
        source = main.read_text()
        assert not [flag for flag in re.findall(r"--[a-z-]+", rest) if f'"{flag}"' not in source], f"{module} {rest}"


@pytest.mark.slow
@pytest.mark.horovod
@pytest.mark.parametrize("page", [page for page in DOCS if page.name not in OWN_TEST], ids=lambda page: page.stem)
def test_every_command_of_a_page_works_in_its_order(page: Path, tmp_path: Path, small_data: Path) -> None:
    shell = Shell(tmp_path, small_data, forked())
    for block in blocks(page):
        if block.path is not None:
            write(block, tmp_path)
        for command in block.commands:
            said = shell.redirect(command) if " > " in command else shell.run(command)
            if "metrics=balanced" in command:
                assert "│ test balanced_accuracy" in said
            if "recipe=mine" in command:  # a recipe whose keys have no effect trains, too
                assert "GradientSharing: 2 replicas in 2 process(es), batch 32 each" in said
