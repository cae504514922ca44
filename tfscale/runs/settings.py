"""Values of a run's config.yaml by dotted key, quickly: `tfscale runs` looks at a thousand files in half a second.

A node at the top of the file is parsed only if it is asked for, and only once if several runs have the same text. The
file is not verified here: that is done where a run is continued.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, final

import yaml

from tfscale.dotted_keys import flattened

LARGEST = 1 << 18
"""Bytes of a file, at most; a larger one is not a run's."""

_NODES = re.compile(r"^(?=[A-Za-z_])", re.MULTILINE)
"""Before each node at the top of a file."""

_ALIAS = re.compile(r"(^|[\s:\[,-])[&*]\w")
"""An anchor or alias, which saved configurations do not have: a few lines of them stand for gigabytes."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@final
class Settings:
    """The configuration of one run; empty if its file cannot be read.

    Args:
        path: config.yaml of the run.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._texts: dict[str, str] | None = None

    def node(self, name: str) -> Mapping[str, Any]:
        """Values of a node at the top and of everything below, by dotted key."""
        text = self._nodes().get(name)
        return {} if text is None else _flat(text)

    def all(self) -> Mapping[str, Any]:
        """Values of the whole configuration, by dotted key."""
        return {key: value for name in self._nodes() for key, value in self.node(name).items()}

    def _nodes(self) -> Mapping[str, str]:
        if self._texts is None:
            text = ""
            with suppress(OSError, UnicodeDecodeError):
                if self._path.stat().st_size <= LARGEST:
                    text = self._path.read_text(encoding="utf-8")
            self._texts = {part.partition(":")[0]: part for part in _NODES.split(text) if ":" in part}
        return self._texts


@lru_cache(maxsize=4096)
def _flat(text: str) -> Mapping[str, Any]:
    if _ALIAS.search(text):
        return {}
    try:
        document = yaml.load(text, Loader=_LOADER)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return flattened(document) if isinstance(document, dict) else {}
