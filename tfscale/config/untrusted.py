"""Looks at YAML before it is composed: what a file costs must be in proportion to its length, and it may only be data.

YAML can name a node and use it again, so a file of one screen can stand for gigabytes; it can nest until a parser gives
up, and ask for objects by tag. And Hydra's own settings would do things before anything here has been checked.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from yaml import Event

from tfscale.errors import UserError

LARGEST = 1 << 18
"""Bytes of one file."""

DEEPEST = 30
"""Levels of one file."""

MOST_NODES = 100_000
"""Nodes of one file, those that it uses again counted again."""

MOST_FILES = 1_000
"""Files and folders in a folder of configuration files."""

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
PACKAGE = re.compile(rb"^\s*#\s*@package\s+hydra\b", re.MULTILINE)
"""What says that a file's content goes to Hydra's own settings."""

TAGS = tuple(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map"))
"""What a tag may ask for."""


def check_folder(folder: Path, name: str) -> None:
    """Looks at every configuration file in a folder, and in those below.

    Args:
        folder: Where.
        name: What the user calls it.

    Raises:
        UserError: There are too many, or one may not be used.
    """
    entries = []
    for entry in folder.rglob("*"):
        entries.append(entry)
        if len(entries) > MOST_FILES:
            raise UserError(
                f"{name} must be a folder of configuration files, but {folder} holds more than {MOST_FILES:,} files "
                "and folders; give it one of its own"
            )
    for path in sorted(entries):
        if path.suffix in (".yaml", ".yml") and path.is_file():
            check(path)


def check(path: Path) -> None:
    """Looks at one file.

    Raises:
        UserError: It may not be used; says why.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise UserError(f"{path} must have at most {LARGEST:,} bytes, got {size:,}; split it")
        content = path.read_bytes()
        if PACKAGE.search(content):
            raise UserError(f"{path} must not be of a package of Hydra's own; leave out its line with @package")
        _check_events(path, yaml.parse(content, Loader=LOADER))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())[:300]}") from None


def _check_events(path: Path, events: Iterator[Event]) -> None:
    sizes: dict[str, int] = {}  # of the nodes that have a name
    open_nodes: list[tuple[str | None, int]] = []  # their names, and the nodes before them
    total, is_key = 0, True
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise UserError(f"{path} line {_line(event)} must not use *{event.anchor} inside of itself")
            total += sizes[event.anchor]
        elif isinstance(event, yaml.NodeEvent):
            total += 1
            tag = getattr(event, "tag", None)
            if tag is not None and tag not in (*TAGS, "!"):
                raise UserError(f"{path} line {_line(event)} must hold plain data, got the tag {tag}; leave it out")
        if total > MOST_NODES:
            raise UserError(f"{path} must stand for at most {MOST_NODES:,} values, got more; write fewer")
        if isinstance(event, yaml.ScalarEvent):
            if event.anchor is not None:
                sizes[event.anchor] = 1
            if _is_hydras(event.value, key=is_key and len(open_nodes) == 1):
                raise UserError(
                    f"{path} line {_line(event)} must not set {event.value}: tfscale runs Hydra itself; leave it out"
                )
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, total - 1))
            if len(open_nodes) > DEEPEST:
                raise UserError(f"{path} must have at most {DEEPEST} levels, got more in line {_line(event)}")
            is_key = True
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = total - before
            is_key = True
        elif isinstance(event, yaml.NodeEvent):
            is_key = not is_key


def _is_hydras(word: str, *, key: bool) -> bool:
    """Whether a scalar is Hydra's own section, or the choice of one of its groups in a list of defaults."""
    plain = word.removeprefix("override ").removeprefix("optional ").strip().lstrip("/")
    return plain.startswith("hydra/") or (key and (plain == "hydra" or plain.startswith("hydra.")))


def _line(event: Event) -> int:
    return event.start_mark.line + 1
