"""The trust policy: which code a `_target_` may name.

A configuration file must not be able to call just anything. Allowed are what conf/ ships, classes of listed Keras
modules, modules that the user trusts on the command line (`trust=[MODULE]`), and modules that installed packages offer:
whoever installs a package lets it run. A package offers a module in its own pyproject.toml:

    [project.entry-points."tfscale.plugins"]
    mine = "my_package"

A module also holds what it imports, so a trusted name does not make everything below it trusted.

`trust=[FILE]` with a file of Keras's own format trusts that file and no code: `model.init_from` may read it. Such files
can hold code; they are read for weights only, but readers of these formats have let files do more than they should.
"""

import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType

from tfscale.config.schemas.by_target import TARGET_SCHEMAS
from tfscale.errors import UserError

PLUGINS = "tfscale.plugins"
"""The entry-point group of installed packages that offer modules."""

ALLOWED_TARGETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "model": ("tfscale.models.", "keras.applications."),
        "data": ("tfscale.data.sources.",),
        "optimizer": ("keras.optimizers.",),
        "schedule": ("tfscale.training.schedules.", "tfscale.training.plateau."),
        "task": ("tfscale.tasks.",),
        "loss": ("auto", "keras.losses."),
        "metrics": ("auto", "keras.metrics."),
        "tracker": ("tfscale.tracking.",),
        "callbacks": (),
        "early_stopping": ("tfscale.training.early_stopping.",),
        "strategy": ("tfscale.strategies.",),
        "strategy.collective": ("auto", "tfscale.collectives."),
        "strategy.codec": ("tfscale.compression.codecs.",),
        "strategy.threshold": ("tfscale.compression.thresholds.",),
        "strategy.outer": ("tfscale.strategies.outer_optimizer.",),
    }
)
"""Node -> prefixes of the paths that its `_target_` may name, besides trusted modules."""

NAMED_NODES = ("metrics", "tracker", "callbacks")
"""Nodes that hold several nodes with a `_target_`, by names that the user chooses."""

ALLOWED_AUGMENTATIONS = ("keras.layers.Random",)
"""Prefixes of the paths that a `_target_` in `data.augment` may name, besides trusted modules."""

ALLOWED_NESTED_TARGETS = ("keras.initializers.", "keras.regularizers.", "keras.constraints.")
"""Prefixes of the paths that a `_target_` inside such a node may name, besides trusted modules."""

_EXAMPLES = {
    "keras.losses": "MeanSquaredError",
    "keras.metrics": "MeanAbsoluteError",
    "keras.optimizers": "Adam",
    "keras.initializers": "GlorotUniform",
    "keras.regularizers": "L2",
    "keras.constraints": "MaxNorm",
}
"""A class of each listed module of Keras, for messages."""

KERAS_FILES = (".keras", ".weights.h5")
"""Endings of files that are read only if `trust` names them."""

_trusted: set[str] = set()
"""Modules that `trust` was called with."""


@cache
def plugin_modules() -> tuple[str, ...]:
    """Returns the modules that installed packages offer."""
    values = [point.value.partition(":")[0].strip() for point in entry_points(group=PLUGINS)]
    return tuple(sorted(value for value in values if all(part.isidentifier() for part in value.split("."))))


def is_permitted(target: str, allowed: Sequence[str], trusted: Sequence[str]) -> bool:
    """Returns whether a node may name a path.

    Args:
        target: The path.
        allowed: Prefixes that the node allows.
        trusted: Modules that the user trusts.
    """
    if any(target == module or target.startswith(f"{module}.") for module in trusted):
        return True
    # Of tfscale only what conf/ ships. Of Keras only classes directly in a listed module: its functions load and
    # deserialize.
    module, _, name = target.rpartition(".")
    if target in TARGET_SCHEMAS:
        return any(target == each or target.startswith(each) for each in allowed)
    return module.startswith("keras.") and f"{module}." in allowed and name.isidentifier() and name[0].isupper()


def refusal(key: str, target: str, allowed: Sequence[str]) -> str:
    """Returns the message for a path that is not permitted."""
    module = target.rsplit(".", 1)[0]
    if f"{module}." in allowed and module.startswith("keras."):
        return f"{key} must be a class of {module}, such as {module}.{_EXAMPLES.get(module, 'ResNet50')}, got {target}"
    if not allowed:
        return f"{key} must be code of your own, got {target}; type trust=[{module}] if it is"
    return (
        f"{key} must begin with {' or '.join(prefix for prefix in allowed if prefix != 'auto')}, got {target}; "
        f"if that code is yours, type trust=[{module}]"
    )


def modules_in(named: Sequence[object]) -> list[str]:
    """Returns the modules among what `trust` names; the others are files."""
    return [each for each in named if isinstance(each, str) and not each.endswith(KERAS_FILES)]


def consent_problem(key: str, file: str, named: Sequence[str]) -> str | None:
    """Returns the message for a file of Keras that `trust` does not name; None if it does, or for other files."""
    if not file.endswith(KERAS_FILES) or file in named:
        return None
    return (
        f"{key}={file} is a file of Keras, a format that can hold code, of which only the weights are read; if you "
        f"trust it, type trust=[{file}], or give a .safetensors or .npz file"
    )


def trust(named: Sequence[str]) -> None:
    """Trusts modules of the user's own and makes those in the current directory importable.

    Args:
        named: As the key `trust` has them.
    """
    modules = modules_in(named)
    _trusted.update(modules)
    here = str(Path.cwd())
    if modules and here not in sys.path:
        sys.path.insert(0, here)


def require_own_code(key: str, target: str, found: object) -> None:
    """Refuses an object that a trusted module only imports.

    Args:
        key: That names it, for the message.
        target: The path.
        found: The object that it names.

    Raises:
        UserError: The object is defined in a module that is neither trusted nor of the package that was named.
    """
    home = str(getattr(found, "__module__", None))
    named = target.partition(".")[0]
    if home.partition(".")[0] != named and not any(home == each or home.startswith(f"{each}.") for each in _trusted):
        raise UserError(
            f"{key}={target} is code of {home}, which {named} only imports; if it is yours, type trust=[{named},{home}]"
        )
