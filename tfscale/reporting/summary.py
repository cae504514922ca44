"""summary.json and environment.json: what a run gave, and what it depended on."""

import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfscale.reporting.base import finite

PACKAGES = ("tfscale", "tensorflow", "keras", "horovod", "numpy", "hydra-core", "omegaconf")


def write(document: Mapping[str, Any], path: Path) -> None:
    """Writes a JSON document as a whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(finite(document), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def identity() -> dict[str, Any]:
    """What the bits of a result depend on besides the run's settings."""
    return {
        **{name: _version(name) for name in PACKAGES},
        "device": sorted({device.device_type for device in tf.config.list_logical_devices()}),
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads(),
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
    }


def write_environment(path: Path) -> None:
    """Writes `identity`, and what else there is to know of the machine."""
    write(
        {
            **identity(),
            "python": sys.version.split()[0],
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "devices": [device.name for device in tf.config.list_logical_devices()],
        },
        path,
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
