"""Checks YAML files before they are composed: plain data only, at a cost in proportion to their length.

With anchors and aliases a file of one screen expands to gigabytes; nesting exhausts a parser's stack; a tag asks for an
object; and Hydra's own settings take effect before the configuration is checked.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml
from yaml import Event

from tfscale import user_paths
from tfscale.errors import UserError

LARGEST = 1 << 18
"""Bytes of one file, at most."""

DEEPEST = 30
"""Levels of nesting in one file, at most."""

MOST_NODES = 100_000
"""Nodes of one file with its aliases expanded, at most."""

MOST_FILES = 1_000
"""Files and folders in a folder of configuration files, at most."""

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MOST_INTERPOLATIONS = 24
"""Interpolations in one folder, at most: each may expand to all the others."""

TAGS = tuple(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map"))
"""Tags that a file may have."""


def check_folder(folder: Path, name: str) -> None:
    """Checks every configuration file in a folder and in those below.

    Args:
        folder: The folder.
        name: Its name in messages.

    Raises:
        UserError: There are too many files, one may not be used, or a folder cannot be read.
    """
    entries, interpolations, seen = 0, 0, set[tuple[int, int]]()

    def refuse(error: OSError) -> None:
        raise user_paths.unreadable(Path(error.filename), error)

    for place, folders, files in os.walk(folder, followlinks=True, onerror=refuse):  # Hydra follows links
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
    """Checks one file and returns its text.

    Raises:
        UserError: It may not be used, or cannot be read.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[str, object]:
    """Returns the text of a file and the parsed document; raises as `check` does."""
    try:
        if not path.is_file():
            raise UserError(f"{path} must be a file; remove it")
        size = path.stat().st_size
        if size > LARGEST:
            raise UserError(f"{path} must have at most {LARGEST:,} bytes, got {size:,}; split it")
        text = path.read_bytes().decode()
    except OSError as error:
        raise user_paths.unreadable(path, error) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not YAML: it must be UTF-8, {error.reason} at byte {error.start}") from None
    return text, _parsed(path, text)


def _parsed(path: Path, text: str) -> object:
    """Returns the document of a text after all checks; raises as `check` does."""
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
    """Refuses Hydra's own section and choices of its groups."""
    own = [key for key in document if str(key).split(".")[0].split("@")[0] == "hydra"]
    own += [each for each in _entries(document.get("defaults")) if "hydra" in str(each)]
    if own:
        raise UserError(f"{path} must not set {own[0]}: tfscale runs Hydra itself; leave it out")


def _entries(defaults: object) -> list[object]:
    return defaults if isinstance(defaults, list) else [] if defaults is None else [defaults]


def _check_events(path: Path, events: Iterator[Event]) -> None:
    sizes: dict[str, int] = {}  # nodes below each anchor
    open_nodes: list[tuple[str | None, int]] = []  # their anchors, and the nodes counted before them
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
