"""The README: short, with a picture, and every command and code block in it works."""

import re
from pathlib import Path

import pytest

from tests.support.forked_commands import forked
from tests.support.pages import README, ROOT, Shell, blocks, write

TEXT = README.read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def test_it_has_at_most_900_words_and_a_picture() -> None:
    assert len(TEXT.split()) <= 900
    (picture,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TEXT)
    assert (ROOT / picture).stat().st_size < 200_000


def test_no_paragraph_is_longer_than_five_lines() -> None:
    prose = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    long = [part for part in prose.split("\n\n") if not part.lstrip().startswith(("|", "*")) and part.count("\n") > 5]
    assert not long


def test_links_lead_to_files() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", TEXT + CONTRIBUTING)
    assert len(targets) > 15
    assert not [target for target in targets if not (ROOT / target).exists()]


def test_make_has_the_targets_that_are_named() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = re.findall(r"(?:`|\$ )make ([a-z -]+)(?:`|  )", TEXT + CONTRIBUTING)
    named = {target for words in commands for target in words.split()}
    assert {"train", "test", "lint", "types", "docs"} <= named
    assert named - {"test-all"} <= targets
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_files_that_contributing_names_exist() -> None:
    paths = re.findall(r"`((?:tests|tfscale|conf|scripts)/[\w/.]+)`", CONTRIBUTING)
    assert len(paths) >= 4
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_the_tree_is_the_repositorys() -> None:
    (tree,) = (block.text for block in blocks(README) if block.language == "text")
    top, inside = tree.split("\ntfscale/\n")
    named = re.findall(r"^([a-z]+/)", top, re.MULTILINE)
    assert len(named) == 5 and all((ROOT / name).is_dir() for name in named)
    names = {name for line in inside.splitlines() for name in re.findall(r"\b[a-z]+(?:/|\.py)", line)}
    folders = {f"{path.name}/" for path in (ROOT / "tfscale").iterdir() if path.is_dir() and not path.is_symlink()}
    assert folders - {"__pycache__/"} <= names
    assert all((ROOT / "tfscale" / name).exists() for name in names)


@pytest.mark.slow
@pytest.mark.horovod
def test_every_command_works_in_the_order_of_the_readme(tmp_path: Path, small_data: Path) -> None:
    said = {}
    shell = Shell(tmp_path, small_data, forked())
    for block in blocks(README):
        if block.path is not None:
            write(block, tmp_path)
        said |= {command: shell.run(command) for command in block.commands}
    assert len(said) >= 9
    (shown,) = (block for block in blocks(README) if "│ test accuracy" in block.text)
    names = re.findall(r"^│ ([a-z ]+?) +│", shown.text, re.MULTILINE)
    assert len(names) == 6
    assert [name for name in names if f"│ {name}" not in said[shown.commands[0]]] == [], said[shown.commands[0]]


@pytest.mark.slow
@pytest.mark.horovod
def test_the_lines_of_python_run_in_a_jupyter_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel has replaced sys.stdout, and runs an event loop; the test above runs the same lines as a script."""
    nbformat = pytest.importorskip("nbformat", reason="the packages of notebooks are not installed; type: make extras")
    nbclient = pytest.importorskip("nbclient", reason="the packages of notebooks are not installed; type: make extras")
    (lines,) = (block.text for block in blocks(README) if block.path == "first.py")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(lines)])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    text = "".join(each.get("text", "") for each in notebook.cells[0].outputs)
    assert "│ test accuracy" in text and "[0 1 2]" in text
    assert (tmp_path / "digits.safetensors").exists()
