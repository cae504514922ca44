"""Installed packages whose code a `_target_` may name without `trust`: who installs a package lets it run.

A package says so in its own pyproject.toml:

    [project.entry-points."tfscale.plugins"]
    mine = "my_package"
"""

from functools import cache
from importlib.metadata import entry_points

GROUP = "tfscale.plugins"


@cache
def modules() -> tuple[str, ...]:
    """The modules that installed packages offer."""
    values = [point.value.partition(":")[0].strip() for point in entry_points(group=GROUP)]
    return tuple(sorted(value for value in values if all(part.isidentifier() for part in value.split("."))))
