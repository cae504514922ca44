"""Describes what the bits of a run depend on besides its settings: versions, devices, threads."""

import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfscale.runs import summary

PACKAGES = ("tfscale", "tensorflow", "keras", "horovod", "numpy", "hydra-core", "omegaconf")


def identity() -> dict[str, Any]:
    """Returns versions, devices and threads."""
    return {
        **{name: _version(name) for name in PACKAGES},
        "device": sorted({device.device_type for device in tf.config.list_logical_devices()}),
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads(),
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
    }


def write(path: Path) -> None:
    """Writes environment.json: `identity`, and facts about the machine."""
    summary.write(
        {
            **identity(),
            "python": sys.version.split()[0],
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "devices": [device.name for device in tf.config.list_logical_devices()],
        },
        path,
    )


def origin(path: Path) -> dict[str, str]:
    """Returns what environment.json says of the run's origin: command and git, where it has them."""
    document = json.loads(path.read_text(encoding="utf-8"))
    found: dict[str, str] = {}
    for name, value in document.items():
        if name.startswith(("command", "git")) and value is not None:
            found[name] = value if isinstance(value, str) else json.dumps(value)
    return found


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
