"""Nested documents by dotted keys, as settings are typed: optimizer.learning_rate."""

from collections.abc import Mapping
from typing import Any


def flattened(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the values that are no mappings by dotted key; lists and empty mappings are values.

    Args:
        document: Nested mappings.
        prefix: Before each key.
    """
    flat: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def without_empty(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings without empty nodes, such as `callbacks` of a run that has none."""
    return {name: value for name, value in flat.items() if not isinstance(value, Mapping)}
