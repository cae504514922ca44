"""Composes a configuration from conf/, recipes/ and the user's own folder, with Hydra's compose API.

`@hydra.main` is used only to inspect (`--cfg`, `--info`): it changes logging, makes output folders and runs callbacks
from YAML before the first line of the program. The compose API has no side effects.

A user's `--config-dir` comes first in the search path, so an edited copy of a shipped file takes precedence; Hydra
itself would put it last and ignore the copy.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import hydra
from hydra import compose, initialize_config_module
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf, open_dict

from tfscale import user_paths
from tfscale.config import yaml_limits
from tfscale.errors import UserError

CONFIG_NAME = "config"
HYDRA_1_4 = tuple(int(part) for part in hydra.__version__.split(".")[:2]) >= (1, 4)
BEHAVIOUR: Mapping[str, Any] = {} if HYDRA_1_4 else {"version_base": "1.3"}
"""Hydra 1.3 warns unless it is told the version of its defaults; 1.4 warns if it is told."""

CONFIG_MODULE = "tfscale.conf"


class _UserFolder(SearchPathPlugin):
    """Puts the user's folder before the shipped one in the search path."""

    folder: str | None = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.folder is not None:
            search_path.prepend("user", f"file://{self.folder}")


def register(config_dir: str | None) -> None:
    """Registers recipes and the user's folder with Hydra; needed before `@hydra.main` too.

    Raises:
        UserError: The folder does not exist, cannot be read, or holds a file that may not be used.
    """
    folder = None if config_dir is None else user_paths.expanded(config_dir).absolute()
    if folder is not None and not user_paths.is_dir(folder):
        raise UserError(f"--config-dir must be a folder, got {config_dir}; check the path")
    if folder is not None:
        yaml_limits.check_folder(folder, "--config-dir")
    _UserFolder.folder = None if folder is None else str(folder)
    Plugins.instance().register(_UserFolder)
    _register_recipes()


@cache
def _register_recipes() -> None:
    """Runs once in a process: Hydra's store is global."""
    store = ConfigStore.instance()
    for name, text in recipe_texts().items():
        store.store(group="recipe", name=name, node=OmegaConf.create(text), package="_global_", provider="recipes")


def recipe_texts() -> Mapping[str, str]:
    """Returns the YAML text of every shipped recipe, by name."""
    folder = files("tfscale.recipes")
    entries = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".yaml")), key=lambda e: e.name)
    return {entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8") for entry in entries}


@contextmanager
def composer(config_dir: str | None) -> Iterator["Composer"]:
    """Initializes Hydra, and clears its state at the end."""
    register(config_dir)
    GlobalHydra.instance().clear()
    with initialize_config_module(CONFIG_MODULE, job_name="tfscale", **BEHAVIOUR):
        yield Composer()


class Composer:
    """Composes configurations, and lists groups and options, which it looks up once."""

    def __init__(self) -> None:
        self._options = dict(self._walk(""))

    def _walk(self, parent: str) -> Iterator[tuple[str, list[str]]]:
        for name in _listed(parent, ObjectType.GROUP):
            path = f"{parent}/{name}" if parent else name
            # Hydra's own groups are not for users; a folder without options is not a group.
            if name not in ("hydra", "__pycache__") and (options := _listed(path, ObjectType.CONFIG)):
                yield path, options
                yield from self._walk(path)

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Returns the configuration under these overrides."""
        return self.with_choices(overrides)[0]

    def with_choices(self, overrides: Sequence[str]) -> tuple[DictConfig, Mapping[str, str]]:
        """Returns the configuration under these overrides, and the option that each group has in it, as typed."""
        if _UserFolder.folder is None:  # shipped files do not change while a process runs
            config, choices = _shipped(tuple(overrides))
            return copy.deepcopy(config), choices
        return _composed(overrides)

    def options(self, group: str) -> list[str]:
        """Returns the options of a group, "strategy" or "strategy/codec"; none if there is no such group."""
        return self._options.get(group, [])

    def groups(self) -> list[str]:
        """Returns all groups, nested ones with slashes."""
        return list(self._options)


@lru_cache(maxsize=64)
def _shipped(overrides: tuple[str, ...]) -> tuple[DictConfig, Mapping[str, str]]:
    """Returns a configuration of shipped files; the jobs of a sweep choose the same groups again and again."""
    return _composed(overrides)


def _composed(overrides: Sequence[str]) -> tuple[DictConfig, Mapping[str, str]]:
    """Returns a configuration, and the option of each group that has one."""
    config = compose(CONFIG_NAME, overrides=list(overrides), return_hydra_config=True)
    choices = {
        str(group): str(option)
        for group, option in config.hydra.runtime.choices.items()
        if option is not None and not str(group).startswith("hydra/")
    }
    with open_dict(config):  # as Hydra does
        del config["hydra"]
    return config, choices


def _listed(group: str, kind: ObjectType) -> list[str]:
    """Returns the groups or options in a group; Hydra's own function copies all recipes before each answer."""
    sources = [each for each in GlobalHydra.instance().config_loader().get_sources() if each.is_group(group)]
    return sorted({name for source in sources for name in source.list(group, kind)})


def plain(node: DictConfig) -> dict[str, Any]:
    """Returns a configuration as dicts and lists, interpolations resolved."""
    container = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    return {str(key): value for key, value in container.items()} if isinstance(container, dict) else {}
