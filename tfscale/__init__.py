"""Declarative, config-driven distributed training for TensorFlow and Keras 3."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfscale.api import Run, compose, load, train
    from tfscale.errors import RunError, UserError

__version__ = "0.1.0"

__all__ = ["Run", "RunError", "UserError", "compose", "load", "train"]

_HOMES = {name: "tfscale.errors" if name.endswith("Error") else "tfscale.api" for name in __all__}
"""Public name -> its module, which is imported at first use: `import tfscale` itself is quick."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tfscale' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
