"""Composes a configuration from conf/, recipes/ and the user's own folder, with Hydra's compose API.

`@hydra.main` is used only to inspect (`--cfg`, `--info`, completion): it changes logging, makes output folders and runs
callbacks from YAML before a program's first line. Composing has no side effects.

A user's `--config-dir` comes first in the search path, so that an edited copy of a shipped file really wins; Hydra
itself puts it last, and ignores the copy silently.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_module
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from tfscale.config import yaml_limits
from tfscale.errors import UserError

CONFIG_NAME = "config"
HYDRA_1_4 = tuple(int(part) for part in hydra.__version__.split(".")[:2]) >= (1, 4)
BEHAVIOUR: Mapping[str, Any] = {} if HYDRA_1_4 else {"version_base": "1.3"}
"""Hydra 1.3 warns unless it is told which version's defaults are meant; 1.4 warns if it is told."""

CONFIG_MODULE = "tfscale.conf"


class _UserFolder(SearchPathPlugin):
    """Puts the user's folder before the shipped one."""

    folder: str | None = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.folder is not None:
            search_path.prepend("user", f"file://{self.folder}")


def register(config_dir: str | None) -> None:
    """Makes recipes and the user's folder known to Hydra; `@hydra.main` needs it as well.

    Raises:
        UserError: There is no such folder.
    """
    folder = None if config_dir is None else Path(config_dir).expanduser().absolute()
    if folder is not None and not folder.is_dir():
        raise UserError(f"--config-dir must be a folder, got {config_dir}; check the path")
    if folder is not None:
        yaml_limits.check_folder(folder, "--config-dir")
    _UserFolder.folder = None if folder is None else str(folder)
    Plugins.instance().register(_UserFolder)
    _register_recipes()


@cache
def _register_recipes() -> None:
    """Once a process: Hydra's store is global."""
    store = ConfigStore.instance()
    for name, text in recipe_texts().items():
        store.store(group="recipe", name=name, node=OmegaConf.create(text), package="_global_", provider="recipes")


def recipe_texts() -> Mapping[str, str]:
    """Name -> YAML text of every shipped recipe."""
    folder = files("tfscale.recipes")
    entries = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".yaml")), key=lambda e: e.name)
    return {entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8") for entry in entries}


@contextmanager
def composer(config_dir: str | None) -> Iterator["Composer"]:
    """Hydra, ready to compose; cleaned up after."""
    register(config_dir)
    GlobalHydra.instance().clear()
    with initialize_config_module(CONFIG_MODULE, job_name="tfscale", **BEHAVIOUR):
        yield Composer()


class Composer:
    """What can be asked of Hydra's configuration; groups and options are looked up once."""

    def __init__(self) -> None:
        self._options = dict(self._walk(""))

    def _walk(self, parent: str) -> Iterator[tuple[str, list[str]]]:
        loader = GlobalHydra.instance().config_loader()
        for name in loader.list_groups(parent):
            path = f"{parent}/{name}" if parent else name
            # Hydra's own groups are not the user's business; a folder without options is not a group.
            if name not in ("hydra", "__pycache__") and (options := loader.get_group_options(path)):
                yield path, options
                yield from self._walk(path)

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration under these overrides."""
        return compose(CONFIG_NAME, overrides=list(overrides))

    def options(self, group: str) -> list[str]:
        """Names of a group's options, "strategy" or "strategy/codec"; none if there is no such group."""
        return self._options.get(group, [])

    def groups(self) -> list[str]:
        """All groups, nested ones with slashes."""
        return list(self._options)


def plain(node: DictConfig) -> dict[str, Any]:
    """A configuration as plain dicts and lists, interpolations resolved."""
    container = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    return {str(key): value for key, value in container.items()} if isinstance(container, dict) else {}
