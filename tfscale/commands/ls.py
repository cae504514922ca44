"""tfscale ls: what there is to choose from.

usage: tfscale ls [GROUP] [--config-dir DIR]

  GROUP   only this group: model, data, optimizer, schedule, strategy, strategy/codec, recipe, ...
"""

from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from tfscale.config.compose import Composer, composer, recipe_texts
from tfscale.config.suggest import closest
from tfscale.data.download import catalog
from tfscale.errors import UserError

QUIET = ("train", "early_stopping", "run", "launch")
"""Groups with a single option: their keys matter, not the choice."""


def main(words: Sequence[str]) -> int:
    """Runs `tfscale ls`; see the module's docstring."""
    words = list(words)
    if words[:1] in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    config_dir = None
    if "--config-dir" in words:
        at = words.index("--config-dir")
        if at + 1 == len(words):
            raise UserError("--config-dir must come with a folder; type: tfscale ls --config-dir DIR")
        config_dir = words[at + 1]
        del words[at : at + 2]
    with composer(config_dir) as hydra:
        groups = [*(group for group in hydra.groups() if group not in (*QUIET, "recipe")), "recipe"]
        if words and words[0] not in groups:
            near = closest(words[0], groups)
            raise UserError(
                f"{words[0]} is not a group; " + (f"did you mean {near}?" if near else f"there are {', '.join(groups)}")
            )
        for group in words or groups:
            _print_group(group, hydra, config_dir)
    if not words:
        _print_data_sets()
    return 0


def _print_group(group: str, hydra: Composer, config_dir: str | None) -> None:
    print(f"{group}=" if group != "recipe" else "recipe=  (tfscale train recipe=NAME)")
    for option in hydra.options(group):
        print(f"  {option:24}{_description(group, option, config_dir)}")


def _description(group: str, option: str, config_dir: str | None) -> str:
    """The first comment of an option's file: the user's own, or the shipped one."""
    for text in _texts(group, option, config_dir):
        for line in text.splitlines():
            if line.startswith("# ") and not line.startswith("# @package"):
                return line.removeprefix("# ")
    return ""


def _texts(group: str, option: str, config_dir: str | None) -> Iterator[str]:
    if config_dir is not None:
        own = Path(config_dir).expanduser() / group / f"{option}.yaml"
        if own.is_file():
            yield own.read_text(encoding="utf-8")
    shipped = files("tfscale.conf").joinpath(group, f"{option}.yaml")
    if shipped.is_file():
        yield shipped.read_text(encoding="utf-8")
    elif group == "recipe" and option in recipe_texts():
        yield recipe_texts()[option]


def _print_data_sets() -> None:
    print("data sets to fetch  (tfscale data fetch NAME)")
    for name in catalog.SUMS:
        place = catalog.home(name)
        print(f"  {name:24}{f'in {place}' if place.is_dir() else 'not on this machine'}")
