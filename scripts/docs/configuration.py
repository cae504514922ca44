"""The page docs/configuration.md: a table of keys for every option of every group.

usage: python -m tfscale.scripts.docs.configuration

Keys, defaults and meanings come from conf/*.yaml and its comments, what a value may be from the tables in
tfscale/config/schemas/. MkDocs calls `on_files` (a hook of mkdocs.yml), so the page exists only in the built site: it
cannot be out of date, and a new option changes no other file. Run as a script, this prints the page.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import yaml

from tfscale.config.schemas.by_target import TARGET_SCHEMAS
from tfscale.config.schemas.common import COMMON_GROUPS, COMMON_KEYS
from tfscale.config.schemas.config import Config
from tfscale.config.schemas.fields import Table

PAGE = "configuration.md"
GROUPS = (
    *("model", "data", "optimizer", "schedule", "loss", "metrics", "strategy", "strategy/collective"),
    *("strategy/codec", "strategy/threshold", "train", "early_stopping", "run", "launch"),
)
"""The groups that come first, in this order; others follow by name."""

INTRODUCTION = """# Configuration reference

A configuration is made of groups, each with one option chosen (`optimizer=adam`), and of values
(`optimizer.learning_rate=0.01`). `tfscale ls` lists the options; `tfscale train --cfg job` prints the whole
configuration of a job and starts nothing. This page is made from `conf/` and from the tables in
`tfscale/config/schemas/`.

A key in brackets is not in the option's file: `+KEY=VALUE` adds it. `null` means "none", `auto` is decided from the
data, the devices or the optimizer.
"""


def page() -> str:
    """Returns the page as Markdown."""
    root = files("tfscale.conf")
    found = {name: folder for name, folder in _groups(root, "")}
    order = [*(name for name in GROUPS if name in found), *sorted(found.keys() - set(GROUPS))]
    parts = [INTRODUCTION, *_top_level(root.joinpath("config.yaml").read_text(encoding="utf-8"))]
    for name in order:
        parts += _group(name, found[name])
    return "\n".join(parts)


def _groups(folder: Traversable, parent: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        name = f"{parent}/{entry.name}" if parent else entry.name
        if entry.is_dir() and not entry.name.startswith("_"):
            if any(each.name.endswith(".yaml") for each in entry.iterdir()):
                yield name, entry
            yield from _groups(entry, name)


def _top_level(text: str) -> Iterator[str]:
    """Keys of config.yaml that belong to no group."""
    values, comments = yaml.safe_load(text), _comments(text)
    yield "## Keys outside of groups\n"
    yield from _head()
    for key, value in values.items():
        if key != "defaults":
            yield _row(key, value, Config.model_fields[key].description, comments.get(key))
    yield ""


def _group(name: str, folder: Traversable) -> Iterator[str]:
    yield f"## `{name}`\n"
    entries = sorted((each for each in folder.iterdir() if each.name.endswith(".yaml")), key=lambda each: each.name)
    for entry in entries:
        option = entry.name.removesuffix(".yaml")
        text = entry.read_text(encoding="utf-8")
        yield f"### `{name}={option}`\n"
        yield f"{_first_comment(text)}\n"
        yield from _option(name, yaml.safe_load(text), _comments(text))


def _option(group: str, values: Mapping[str, Any], comments: Mapping[str, str]) -> Iterator[str]:
    node = COMMON_GROUPS.get(group)
    table = _table(group, values) if node is None else COMMON_KEYS[node]
    rows = list(_rows(node or group, values, comments, table))
    if rows:
        yield from _head()
        yield from rows
        yield ""


def _table(group: str, values: Mapping[str, Any]) -> type[Table] | None:
    """The table of an option: its target's, or that of a group without one."""
    if "_target_" in values:
        return TARGET_SCHEMAS.get(values["_target_"])
    annotation = Config.model_fields[group].annotation if group in Config.model_fields else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, Table) else None


def _rows(
    group: str, values: Mapping[str, Any], comments: Mapping[str, str], table: type[Table] | None
) -> Iterator[str]:
    path = group.replace("/", ".")
    for part in values.get("defaults", ()):
        for key, option in part.items() if isinstance(part, dict) else ():
            yield _row(f"{group}/{key}", option, f"an option of [`{group}/{key}`](#{_anchor(f'{group}/{key}')})", None)
    fields = {} if table is None else table.model_fields
    for key, value in values.items():
        if isinstance(value, dict) and "_target_" in value:  # one of several metrics or trackers
            rule = f"a class of `keras.{path}`" if path == "metrics" else "a class of tfscale, or of your own"
            yield _row(f"{path}.{key}._target_", value["_target_"], rule, comments.get(key))
            yield from _rows(f"{path}.{key}", value, comments, TARGET_SCHEMAS.get(value["_target_"]))
        elif not key.startswith("_") and key != "defaults":
            field = fields.get(key)
            yield _row(f"{path}.{key}", value, None if field is None else field.description, comments.get(key))
    for key, field in fields.items():
        if key not in values and not field.is_required():
            yield _row(f"[{path}.{key}]", field.default, field.description, f"add it: `+{path}.{key}=VALUE`")


def _head() -> Iterator[str]:
    yield "| key | default | must be | meaning |"
    yield "|---|---|---|---|"


def _row(key: str, value: object, rule: str | None, meaning: str | None) -> str:
    default = yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
    cells = (f"`{key}`", f"`{default}`", rule or "", meaning or "")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _anchor(group: str) -> str:
    return re.sub(r"[^a-z_-]", "", group)


def _comments(text: str) -> dict[str, str]:
    """Key -> the comment beside it."""
    found = re.findall(r"^ *(\w+):[^#\n]*#\s*(.+)$", text, re.MULTILINE)
    return {key: comment.strip() for key, comment in found}


def _first_comment(text: str) -> str:
    return next((line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ")), "")


def on_files(files: Any, config: Any) -> Any:
    """Adds the page to the site; MkDocs calls it (a hook of mkdocs.yml)."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, PAGE, content=page()))
    return files


if __name__ == "__main__":
    sys.stdout.write(page())
