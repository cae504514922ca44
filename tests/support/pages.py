"""Commands and files of README.md and docs/*.md, and a way to run them.

A console block holds commands behind `$ ` and their output. A command that a test cannot run ends in `# not tested:`
and the reason. A Python or YAML block that begins with `# PATH` is a file of the reader's, written before the commands
that follow; a line for Hydra may come first. A diff block changes a file: its hunks start with `@@`, and need no
numbers and only enough context to be unique.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.support.forked_commands import ForkedCommands
from tfscale.commands.data import EXPORT_KEYS
from tfscale.config.overrides import keys_of

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
EXCEPTED = "# not tested: "
FILE = re.compile(r"^(?:# @package _global_\n)?# (\S+\.(?:py|yaml))\n")


def pages() -> list[Path]:
    """README.md, then the pages of docs/ in the order of their navigation."""
    text = (ROOT / "mkdocs.yml").read_text()
    names = re.findall(r": (\S+\.md)$", text[text.index("\nnav:") :], re.MULTILINE)
    return [README, *(path for name in names if (path := ROOT / "docs" / name).exists())]


@dataclass(frozen=True, kw_only=True)
class Block:
    """A code block.

    Attributes:
        language: The word behind the fence; empty if there is none.
        text: What stands between the fences.
        heading: The heading above it.
    """

    language: str
    text: str
    heading: str

    @property
    def path(self) -> str | None:
        """Where a file block is to be written."""
        found = FILE.match(self.text) if self.language in ("python", "yaml") else None
        return None if found is None else found[1]

    @property
    def lines(self) -> list[str]:
        """Commands of a console block with their comments."""
        lines = self.text.splitlines() if self.language == "console" else []
        return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]

    @property
    def commands(self) -> list[str]:
        """Commands that tests run, without comments."""
        return [line.split(" #")[0].strip() for line in self.lines if EXCEPTED not in line]

    @property
    def excepted(self) -> list[str]:
        """Commands that tests do not run."""
        return [line for line in self.lines if EXCEPTED in line]


def blocks(page: Path) -> list[Block]:
    """Returns the code blocks of a page, in order."""
    found, heading = [], ""
    fences = re.compile(
        r"^#+ (?P<heading>[^\n]+)$|^```(?P<language>\S*)[^\n]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
    )
    for match in fences.finditer(page.read_text()):
        if match["heading"] is not None:
            heading = match["heading"]
        else:
            found.append(Block(language=match["language"], text=match["text"], heading=heading))
    return found


def write(block: Block, folder: Path) -> None:
    """Writes a file block."""
    assert block.path is not None
    place = folder / block.path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(block.text)


def patch(text: str, folder: Path) -> None:
    """Applies a diff block to the file that its first line names."""
    name, *hunks = re.split(r"^@@\n", text, flags=re.MULTILINE)
    place = folder / name.removeprefix("--- ").strip()
    content = place.read_text()
    for hunk in hunks:
        old = "".join(line[1:] for line in hunk.splitlines(keepends=True) if line[0] in " -")
        new = "".join(line[1:] for line in hunk.splitlines(keepends=True) if line[0] in " +")
        assert content.count(old) == 1, f"{place}: this must stand there once:\n{old}"
        content = content.replace(old, new)
    place.write_text(content)


class Shell:
    """Runs commands of a page in a folder: short ones, on small stand-ins for the data sets.

    Args:
        folder: Where the reader is.
        data: For TFSCALE_DATA.
        tfscale: Runs `tfscale` without importing TensorFlow each time.
        root: Of the repository.
    """

    def __init__(self, folder: Path, data: Path, tfscale: ForkedCommands, root: Path = ROOT) -> None:
        self._folder, self._tfscale = folder, tfscale
        binaries = Path(sys.executable).parent
        self._environment = {
            **os.environ,
            "TFSCALE_DATA": str(data),
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(root),
        }

    def run(self, command: str) -> str:
        """Runs a command, which must succeed; returns what it printed."""
        words = shortened(shlex.split(command))
        if words[0] == "tfscale":
            code, said = self._tfscale.run(words[1:], self._folder, self._environment)
        else:
            done = subprocess.run(
                words,
                cwd=self._folder,
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=300,
                check=False,
            )
            code, said = done.returncode, done.stdout
        assert code == 0, f"{command}\n{said}"
        return said

    def redirect(self, command: str) -> str:
        """Runs a command whose output goes to a file: COMMAND > NAME."""
        words, _, name = command.partition(" > ")
        said = self.run(words)
        (self._folder / name.strip()).write_text(said)
        return said


def shortened(words: list[str]) -> list[str]:
    """A command with fewer steps: 2 for a run, so that one is left for whoever resumes it with 3."""
    if not {"train", "resume"} & set(words) or "--cfg" in words:
        return words
    kept = [word for word in words if not word.startswith(("train.steps=", "train.epochs="))]
    return [*kept, "train.steps=3" if "resume" in words else "train.steps=2"]


def settings(page: Path) -> Iterator[str]:
    """Keys that a page writes as inline code, `group.key` or `group.key=value`."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for code in re.findall(r"`([^`\n]+)`", prose):
        for word in code.split():
            if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+(=\S*)?", word):
                yield word.split("=")[0]


def known_settings() -> set[str]:
    """Every key that an option of conf/ has, and those of `tfscale data export`."""
    known = set(EXPORT_KEYS)
    for path in (ROOT / "conf").rglob("*.yaml"):
        text = path.read_text()
        package = re.match(r"# @package (\w+)", text)
        group = package[1] if package else ".".join(path.relative_to(ROOT / "conf").parent.parts)
        known |= {f"{group}.{key}" for key in keys_of(yaml.safe_load(text) or {})}
    return known
