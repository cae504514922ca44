"""Keys of a node that every option of its group has, beside the arguments of the node's target.

They come from a group of their own (`# @package data`, `# @package model`), so that a source or model of the user's own
has them too, without knowing of them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tfscale.config.schemas.data import Pipeline
from tfscale.config.schemas.fields import Table
from tfscale.config.schemas.models import Transfer

COMMON_KEYS: Mapping[str, type[Table]] = MappingProxyType({"data": Pipeline, "model": Transfer})
"""Node -> table of the keys that are not arguments of its target."""

COMMON_GROUPS: Mapping[str, str] = MappingProxyType({"pipeline": "data", "transfer": "model"})
"""Group in conf/ that those keys come from -> node."""


def separated(path: str, node: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Separates the keys of a node's target, `_target_` among them, from those that every such node has."""
    common = COMMON_KEYS[path].model_fields if path in COMMON_KEYS else {}
    return (
        {key: value for key, value in node.items() if key not in common},
        {key: value for key, value in node.items() if key in common},
    )


def own_options(path: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments of a node's target: without `_target_` and the keys that every such node has."""
    return {key: value for key, value in separated(path, node)[0].items() if not key.startswith("_")}


def pipeline_of(node: Mapping[str, Any]) -> Pipeline:
    """Returns the keys of a data node that every source has."""
    return Pipeline.model_validate(separated("data", node)[1])


def transfer_of(node: Mapping[str, Any]) -> Transfer:
    """Returns the keys of a model node that every model has."""
    return Transfer.model_validate(separated("model", node)[1])
