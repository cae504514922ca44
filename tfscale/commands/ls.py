"""`tfscale ls`: lists groups and their options, recipes, and data sets to fetch."""

import argparse
from collections.abc import Iterator
from importlib.resources import files

from tfscale import user_paths
from tfscale.config.compose import Composer, composer, recipe_texts
from tfscale.config.suggest import closest
from tfscale.data.download import catalog
from tfscale.errors import UserError

QUIET = ("train", "early_stopping", "run", "launch")
"""Groups with a single option, which are not listed: only their keys can be set."""


def main(flags: argparse.Namespace) -> int:
    """Prints one group, or all of them and the data sets.

    Raises:
        UserError: There is no such group.
    """
    with composer(flags.config_dir) as hydra:
        groups = [*(group for group in hydra.groups() if group not in (*QUIET, "recipe")), "recipe"]
        if flags.group is not None and flags.group not in groups:
            near = closest(flags.group, groups)
            hint = f"did you mean {near}?" if near else f"there are {', '.join(groups)}"
            raise UserError(f"{flags.group} is not a group; {hint}")
        for group in groups if flags.group is None else [flags.group]:
            _print_group(group, hydra, flags.config_dir)
    if flags.group is None:
        _print_data_sets()
    return 0


def _print_group(group: str, hydra: Composer, config_dir: str | None) -> None:
    print(f"{group}=" if group != "recipe" else "recipe=  (tfscale train recipe=NAME)")
    for option in hydra.options(group):
        print(f"  {option:24}{_description(group, option, config_dir)}")


def _description(group: str, option: str, config_dir: str | None) -> str:
    """Returns the first comment of an option's file, the user's own or the shipped one."""
    for text in _texts(group, option, config_dir):
        for line in text.splitlines():
            if line.startswith("# ") and not line.startswith("# @package"):
                return line.removeprefix("# ")
    return ""


def _texts(group: str, option: str, config_dir: str | None) -> Iterator[str]:
    if config_dir is not None:
        own = user_paths.expanded(config_dir) / group / f"{option}.yaml"
        if user_paths.is_file(own):
            yield own.read_text(encoding="utf-8")
    shipped = files("tfscale.conf").joinpath(group, f"{option}.yaml")
    if shipped.is_file():
        yield shipped.read_text(encoding="utf-8")
    elif group == "recipe" and option in recipe_texts():
        yield recipe_texts()[option]


def _print_data_sets() -> None:
    print("data sets to fetch  (tfscale data fetch NAME)")
    for name in catalog.SUMS:
        print(f"  {name:24}{_location(name)}")


def _location(name: str) -> str:
    """The folder of a data set, or why there is none: one that cannot be read must not hide the rest of the list."""
    try:
        folder = catalog.home(name)
        return f"in {folder}" if user_paths.is_dir(folder) else "not on this machine"
    except UserError as error:
        return str(error)
