"""Writes summary.json and other JSON documents of a run, and names the result that decides."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfscale import atomic_file
from tfscale.tracking.base import finite


def write(document: Mapping[str, Any], path: Path) -> None:
    """Replaces a JSON document as a whole or not at all; values that are not finite become null."""
    atomic_file.replace(path, json.dumps(finite(document), indent=2, allow_nan=False) + "\n")


def deciding_metric(metrics: Sequence[str]) -> str | None:
    """Returns the metric by which runs are compared; None if there is none.

    The first of the validation examples, as a choice by the test would make it a part of training; else the first.

    Args:
        metrics: Names of the results in their order; those of the validation examples begin with val_.
    """
    validated = [name for name in metrics if name.startswith("val_") and name != "val_loss"]
    return next(iter([*validated, *metrics]), None)
