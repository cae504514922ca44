"""Old `_target_` paths: saved runs and users' files that name them still work, with a warning.

Paths changed once, before 0.1.0. The table maps modules; names inside them are the same.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

MOVED_MODULES: Mapping[str, str] = MappingProxyType(
    {
        "tfscale.codecs.bitmap": "tfscale.compression.codecs.bitmap",
        "tfscale.codecs.rice": "tfscale.compression.codecs.rice",
        "tfscale.codecs.smallest": "tfscale.compression.codecs.smallest",
        "tfscale.codecs.word32": "tfscale.compression.codecs.word32",
        "tfscale.data.digits": "tfscale.data.sources.digits",
        "tfscale.data.idx": "tfscale.data.sources.idx",
        "tfscale.data.npz": "tfscale.data.sources.npz",
        "tfscale.data.shakespeare": "tfscale.data.sources.shakespeare",
        "tfscale.data.synthetic": "tfscale.data.sources.synthetic",
        "tfscale.early_stopping": "tfscale.training.early_stopping",
        "tfscale.schedules": "tfscale.training.schedules",
        "tfscale.strategies.gradient_averaging": "tfscale.strategies.gradient_averaging.strategy",
        "tfscale.strategies.gradient_sharing": "tfscale.strategies.gradient_sharing.strategy",
        "tfscale.strategies.parameter_averaging": "tfscale.strategies.parameter_averaging.strategy",
        "tfscale.thresholds": "tfscale.compression.thresholds",
    }
)
"""Old module -> where it is now."""


def current(target: str) -> str:
    """The path that an old `_target_` has now; the same for any other."""
    module, _, name = target.rpartition(".")
    return f"{MOVED_MODULES[module]}.{name}" if module in MOVED_MODULES else target


def renamed(value: Any) -> tuple[Any, Mapping[str, str]]:
    """Replaces old paths in a configuration.

    Args:
        value: Plain nodes, lists and values.

    Returns:
        The configuration with current paths, and the old paths that it had, each with the current one.
    """
    old = {target: current(target) for target in _targets(value) if current(target) != target}
    return _replaced(value, old), old


def _targets(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("_target_"), str):
            yield value["_target_"]
        for part in value.values():
            yield from _targets(part)
    elif isinstance(value, list):
        for part in value:
            yield from _targets(part)


def _replaced(value: Any, old: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            key: old.get(part, part) if key == "_target_" and isinstance(part, str) else _replaced(part, old)
            for key, part in value.items()
        }
    return [_replaced(part, old) for part in value] if isinstance(value, list) else value
