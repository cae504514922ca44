"""Describes what the bits of a run depend on besides its settings: versions, devices, threads."""

import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfscale.runs import provenance
from tfscale.userinfo import without_userinfo


def identity() -> dict[str, Any]:
    """Returns versions, devices and threads."""
    return {
        **{name: _version(name) for name in provenance.IDENTITY},
        "device": sorted({device.device_type for device in tf.config.list_logical_devices()}),
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads(),
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
    }


def write(path: Path, whole: Mapping[str, Any], **more: object) -> None:
    """Completes this start in environment.json.

    Args:
        path: The file.
        whole: `identity`, and whatever else the bits of this run depend on.
        more: Facts about the start.
    """
    devices = {"devices": [device.name for device in tf.config.list_logical_devices()], "gpus": _gpus()}
    provenance.add(path, {**whole, **provenance.machine(), **devices, **more})


def _gpus() -> list[str]:
    """Models of the GPUs of this process, with their compute capability where it is known."""
    models = []
    for device in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(device)
        capability = details.get("compute_capability")
        models.append(
            str(details.get("device_name", "unknown"))
            + (f" (compute capability {'.'.join(map(str, capability))})" if capability else "")
        )
    return models


def origin(path: Path) -> dict[str, str]:
    """Returns a run's origin from its environment.json; empty if there is no readable file.

    Keys are `command`, and in a repository `git.root`, `git.commit` and `git.dirty`.
    """
    document = without_userinfo(next(iter(provenance.starts(path)), {}))
    found = {"command": document.get("command")}
    repository = document.get("git")
    found |= {f"git.{name}": value for name, value in repository.items()} if isinstance(repository, dict) else {}
    return {name: str(value) for name, value in found.items() if value is not None}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
