"""summary.json and environment.json: what a run gave, and what it depended on."""

import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tfscale.tracking.base import finite



def write(document: Mapping[str, Any], path: Path) -> None:
    """Writes a JSON document as a whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(finite(document), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)






