"""Looks at YAML before it is composed: what a file costs must be in proportion to its length, and it may only be data.

YAML can name a node and use it again, so a file of one screen can stand for gigabytes; it can nest until a parser gives
up, and ask for objects by tag. And Hydra's own settings would do things before anything here has been checked.
"""

import os
from collections.abc import Iterator, Mapping
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

MOST_INTERPOLATIONS = 24
"""Of one folder: each can stand for all that others stand for."""

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
    entries, interpolations, seen = 0, 0, set[tuple[int, int]]()
    for place, folders, files in os.walk(folder, followlinks=True):  # Hydra follows links
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        entries += len(folders) + len(files)
        if entries > MOST_FILES:
            raise UserError(
                f"{name} must be a folder of configuration files, but {folder} holds more than {MOST_FILES:,} files "
                "and folders; give it one of its own"
            )
        for file in sorted(files):
            if file.endswith((".yaml", ".yml")):
                path = Path(place) / file
                text, document = _read(path)
                if document is not None and not isinstance(document, dict):
                    raise UserError(
                        f"{path} must hold keys and their values, got a "
                        f"{type(document).__name__}; write KEY: VALUE lines"
                    )
                interpolations += text.count("${")
        _check_interpolations(str(folder), interpolations)


def check(path: Path) -> str:
    """Looks at one file; returns what it holds.

    Raises:
        UserError: It may not be used; says why.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[str, object]:
    """What a file holds, as text and parsed; raises as `check` does."""
    try:
        if not path.is_file():
            raise UserError(f"{path} must be a file; remove it")
        size = path.stat().st_size
        if size > LARGEST:
            raise UserError(f"{path} must have at most {LARGEST:,} bytes, got {size:,}; split it")
        text = path.read_bytes().decode()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not YAML: it must be UTF-8, {error.reason} at byte {error.start}") from None
    return text, _parsed(path, text)


def _parsed(path: Path, text: str) -> object:
    """What a text stands for, after a look at it; raises as `check` does."""
    if any("@package" in line and "hydra" in line.lower() for line in text.splitlines()):
        raise UserError(f"{path} must not be of a package of Hydra's own; leave out its line with @package")
    _check_interpolations(str(path), text.count("${"))
    try:
        _check_events(path, yaml.parse(text, Loader=LOADER))
        document = yaml.load(text, Loader=LOADER)  # as Hydra reads it: merged, and names replaced
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())[:300]}") from None
    if isinstance(document, dict):
        _check_hydras(path, document)
    return document


def _check_interpolations(where: str, count: int) -> None:
    if count > MOST_INTERPOLATIONS:
        raise UserError(f"{where} must have at most {MOST_INTERPOLATIONS} interpolations, got {count}; write values")


def _check_hydras(path: Path, document: Mapping[object, object]) -> None:
    """Refuses Hydra's own section, and choices of its groups."""
    own = [key for key in document if str(key).split(".")[0].split("@")[0] == "hydra"]
    own += [each for each in _entries(document.get("defaults")) if "hydra" in str(each)]
    if own:
        raise UserError(f"{path} must not set {own[0]}: tfscale runs Hydra itself; leave it out")


def _entries(defaults: object) -> list[object]:
    return defaults if isinstance(defaults, list) else [] if defaults is None else [defaults]


def _check_events(path: Path, events: Iterator[Event]) -> None:
    sizes: dict[str, int] = {}  # of the nodes that have a name
    open_nodes: list[tuple[str | None, int]] = []  # their names, and the nodes before them
    total = 0
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
        if isinstance(event, yaml.ScalarEvent) and event.anchor is not None:
            sizes[event.anchor] = 1
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, total - 1))
            if len(open_nodes) > DEEPEST:
                raise UserError(f"{path} must have at most {DEEPEST} levels, got more in line {_line(event)}")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = total - before


def _line(event: Event) -> int:
    return event.start_mark.line + 1
