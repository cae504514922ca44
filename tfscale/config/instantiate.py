"""The one way from a node with a `_target_` to an object; the allow-list was checked before (validate.py)."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException

from tfscale.config.compose import HYDRA_1_4
from tfscale.errors import UserError

CHECKED: Mapping[str, Any] = (
    {"_execution_whitelist_": getattr(hydra.utils, "UNSAFE_DISABLE_EXECUTION_CHECKS")} if HYDRA_1_4 else {}  # noqa: B009
)
"""From 1.4 on Hydra wants to be told what it may call, under names that classes have inside Keras; ours did it."""


def instantiate(key: str, node: Mapping[str, Any], **extra: Any) -> Any:
    """Calls the node's `_target_` with its keys and `extra`.

    Args:
        key: Where the node stands, for messages.
        node: Plain values.
        extra: Keyword arguments beyond the node's.

    Raises:
        UserError: The target does not exist or does not take these keys, or says itself that a value is wrong.
    """
    try:
        return hydra.utils.instantiate(dict(node), _convert_="all", **CHECKED, **extra)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        if cause is not None and not isinstance(cause, ImportError | AttributeError | TypeError | ValueError):
            raise cause from None
        reason = str(cause or error).splitlines()[0]
        raise UserError(f"{key}._target_={node['_target_']} cannot be used: {reason}") from error


def trust(modules: list[str]) -> None:
    """Lets `_target_` find the user's own modules in the current directory."""
    here = str(Path.cwd())
    if modules and here not in sys.path:
        sys.path.insert(0, here)
