"""Writes summary.json and other JSON documents of a run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfscale import atomic_file
from tfscale.tracking.base import finite


def write(document: Mapping[str, Any], path: Path) -> None:
    """Replaces a JSON document as a whole or not at all; values that are not finite become null."""
    atomic_file.replace(path, json.dumps(finite(document), indent=2, allow_nan=False) + "\n")
