"""The one way from a node with a `_target_` to an object; the allow-list was checked before (validate.py)."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException

from tfscale.config.compose import HYDRA_1_4
from tfscale.errors import UserError, first_line

CHECKED: Mapping[str, Any] = (
    {"_execution_whitelist_": getattr(hydra.utils, "UNSAFE_DISABLE_EXECUTION_CHECKS")} if HYDRA_1_4 else {}  # noqa: B009
)
"""From 1.4 on Hydra wants to be told what it may call, under names that classes have inside Keras; ours did it."""


_trusted: set[str] = set()
"""Modules of the user's own, as `trust` was told."""


def instantiate(key: str, node: Mapping[str, Any], **extra: Any) -> Any:
    """Calls the node's `_target_` with its keys and `extra`.

    Args:
        key: Where the node stands, for messages.
        node: Plain values.
        extra: Keyword arguments beyond the node's.

    Raises:
        UserError: The target does not exist or does not take these keys, or says itself that a value is wrong.
    """
    for target in _targets(node):
        _check_home(key, target)
    try:
        return hydra.utils.instantiate(dict(node), _convert_="all", **CHECKED, **extra)
    except InstantiationException as error:
        cause = error.__cause__
        if cause is not None and not _is_the_nodes_fault(cause, str(node["_target_"])):
            raise cause from None
        reason = " ".join(str(cause or error).split())[:400] or first_line(error)
        raise UserError(f"{key}._target_={node['_target_']} cannot be used: {reason}") from error


def _targets(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield str(value["_target_"])
        for part in value.values():
            yield from _targets(part)
    elif isinstance(value, list):
        for part in value:
            yield from _targets(part)


def _check_home(key: str, target: str) -> None:
    """A module also holds what it imports: what is called must come from the package that was named, or be trusted.

    Raises:
        UserError: It does not.
    """
    try:
        found = hydra.utils.get_object(target)
    except Exception:  # noqa: BLE001 - who calls it says what is wrong with the name
        return
    home = str(getattr(found, "__module__", None))
    named = target.partition(".")[0]
    if home.partition(".")[0] != named and not any(home == each or home.startswith(f"{each}.") for each in _trusted):
        raise UserError(
            f"{key}._target_={target} is code of {home}, which {named} only imports; if it is yours, type "
            f"trust=[{named},{home}]"
        )


def _is_the_nodes_fault(cause: BaseException, target: str) -> bool:
    """Whether the node cannot be used as it is, and not something that the user's own code did once it ran."""
    if isinstance(cause, UserError):
        return False
    if isinstance(cause, ImportError) or target.startswith("keras."):
        return True
    frame = cause.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    inside = frame.tb_frame.f_globals.get("__name__", "") if frame is not None else ""
    return isinstance(cause, TypeError | AttributeError) and str(inside).startswith("hydra.")


def trust(modules: list[str]) -> None:
    """Lets `_target_` find the user's own modules in the current directory."""
    _trusted.update(modules)
    here = str(Path.cwd())
    if modules and here not in sys.path:
        sys.path.insert(0, here)
