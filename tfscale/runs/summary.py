"""summary.json and environment.json: what a run gave, and what it depended on."""

import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tfscale import atomic_file
from tfscale.tracking.base import finite



def write(document: Mapping[str, Any], path: Path) -> None:
    """Writes a JSON document as a whole or not at all."""
    atomic_file.replace(path, json.dumps(finite(document), indent=2, allow_nan=False) + "\n")






