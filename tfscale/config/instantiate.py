"""Instantiates nodes with a `_target_`; `validate` has checked before that the target is allowed."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException

from tfscale.config.compose import HYDRA_1_4
from tfscale.config.targets import require_own_code
from tfscale.errors import UserError, first_line

CHECKED: Mapping[str, Any] = (
    {"_execution_whitelist_": getattr(hydra.utils, "UNSAFE_DISABLE_EXECUTION_CHECKS")} if HYDRA_1_4 else {}  # noqa: B009
)
"""Hydra 1.4 has a list of its own of what may be called; `targets` is stricter, so Hydra's is switched off."""


def instantiate(key: str, node: Mapping[str, Any], **extra: Any) -> Any:
    """Calls the node's `_target_` with its keys and `extra`.

    Args:
        key: Path of the node in the configuration, for messages.
        node: Plain values.
        extra: Keyword arguments beyond those of the node.

    Raises:
        UserError: The target does not exist, does not take these keys, or raises one itself.
    """
    for target in _targets(node):
        _check_home(key, target)
    try:
        # Hydra would make configurations of the extra values: what they are is for the target alone.
        function = hydra.utils.instantiate({**node, "_partial_": True}, _convert_="all", **CHECKED)
        return function(**extra)
    except Exception as error:  # noqa: BLE001 - whatever a target raises
        explained = _explained(key, node, error)
        raise explained from (error if isinstance(explained, UserError) and explained is not error else None)


def takes(target: str, parameter: str) -> bool:
    """Returns whether a target has a parameter of this name."""
    return parameter in inspect.signature(hydra.utils.get_object(target)).parameters


def named_function(key: str, path: str) -> Callable[..., Any]:
    """Returns a function of the user's own; `validate` has checked before that its module is trusted.

    Args:
        key: That names it, for messages.
        path: MODULE.FUNCTION.

    Raises:
        UserError: There is no such function, or the module only imports it.
    """
    try:
        found = hydra.utils.get_object(path)
    except Exception as error:
        cause = error.__cause__ or error
        raise UserError(f"{key}={path} cannot be used: {' '.join(str(cause).split())[:400]}") from error
    if not callable(found):
        raise UserError(f"{key} must name a function, got {path}, which is {type(found).__name__}; correct the name")
    require_own_code(key, path, found)
    return found


def _explained(key: str, node: Mapping[str, Any], error: Exception) -> BaseException:
    """Returns what to raise: the exception of the user's own code, or else a `UserError` about the node."""
    cause = error.__cause__ if isinstance(error, InstantiationException) else error
    if cause is not None and not _is_the_nodes_fault(cause, str(node["_target_"])):
        return cause
    reason = " ".join(str(cause or error).split())[:400] or first_line(error)
    return UserError(f"{key}._target_={node['_target_']} cannot be used: {reason}")


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
    """Raises UserError if the target is code that a trusted module only imports."""
    try:
        found = hydra.utils.get_object(target)
    except Exception:  # noqa: BLE001 - instantiate raises the error about the name
        return
    require_own_code(f"{key}._target_", target, found)


def _is_the_nodes_fault(cause: BaseException, target: str) -> bool:
    """Returns whether the node is wrong, as opposed to an error inside the user's own code once it ran."""
    if isinstance(cause, UserError):
        return False
    if isinstance(cause, ImportError) or target.startswith("keras."):
        return True
    frame = cause.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    inside = str(frame.tb_frame.f_globals.get("__name__", "")) if frame is not None else ""
    return isinstance(cause, TypeError | AttributeError) and inside.startswith(("hydra.", __name__))
