"""Composes and checks a configuration before anything starts.

All problems are reported together, within a second or two, before TensorFlow is imported: a job that cannot work must
not wait in a queue and start N processes first.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from tfscale import user_paths
from tfscale.config import checks, moved_targets, overrides, validate
from tfscale.config.compose import Composer, composer, plain
from tfscale.config.schemas.config import Config
from tfscale.config.strategy_settings import settings_of
from tfscale.errors import UserError
from tfscale.terminal import logger
from tfscale.world import from_environment

_UNCOMPOSABLE = (
    *(YAMLError, HydraException, OmegaConfBaseException, ValueError, TypeError, RecursionError),
    OSError,  # a name that no file can have, or a file that cannot be read
)
"""Exceptions that composing raises on a user's mistake."""


class Composed(NamedTuple):
    """A configuration, valid key by key, and the option that each group has in it.

    Attributes:
        config: The configuration.
        choices: Group -> option, as typed: strategy -> local, strategy/codec -> rice; empty for that of an earlier run.
    """

    config: Config
    choices: Mapping[str, str]


def preflight(words: Sequence[str], *, config_dir: str | None) -> Config:
    """Composes a configuration and checks it key by key; see `composed`."""
    return composed(words, config_dir=config_dir).config


def composed(words: Sequence[str], *, config_dir: str | None) -> Composed:
    """Composes a configuration and checks it key by key; `check_job` checks what holds between keys.

    Args:
        words: Overrides, KEY=VALUE.
        config_dir: The user's own conf/ folder, which takes precedence.

    Raises:
        UserError: All problems.
    """
    parsed = overrides.parse(words)
    with composer(config_dir) as hydra:
        try:
            values, choices = _compose(parsed, hydra)
            config = typed(values)
        except _UNCOMPOSABLE as error:
            raise UserError(f"the configuration cannot be composed: {first_lines(error)}") from None
    user_paths.expanded(config.run.dir)  # so that it can be expanded wherever it is used
    return Composed(config, choices)


def _compose(parsed: Sequence[overrides.Override], hydra: Composer) -> tuple[DictConfig, Mapping[str, str]]:
    problems = overrides.check_groups(parsed, hydra)
    if problems:
        # Keys depend on the choices: the others are checked against the defaults of the groups with a wrong choice.
        sound = [each for each in parsed if not overrides.check_groups([each], hydra)]
        base = overrides.compose_groups(sound, hydra)
        raise UserError(*problems, *overrides.check_keys(sound, base, hydra))
    base = overrides.compose_groups(parsed, hydra)
    problems = overrides.check_keys(parsed, base, hydra)
    if base.get("trust"):
        problems.append("trust must be given on the command line, where it is seen; type trust=[MODULE]")
    if problems:
        raise UserError(*problems)
    return hydra.with_choices([str(each.input_line) for each in parsed])


def first_lines(error: Exception) -> str:
    """The first two lines of what Hydra or OmegaConf says, as one."""
    return " ".join(str(error).split("\n")[:2])


def typed(composed: DictConfig) -> Config:
    """Resolves a composed configuration and holds it against the schema.

    Raises:
        UserError: Every breach.
    """
    values, old = moved_targets.renamed(plain(composed))
    for group in ("recipe", "local"):
        if values.pop(group, None):  # its keys are below the group's name, where nothing reads them
            raise UserError(f"the {group} file must begin with the line `# @package _global_`; add it")
    if old:
        _warn_of_moved(old)
    problems = validate.problems_of(values)
    if problems:
        raise UserError(*problems)
    return validate.typed(values)


def _warn_of_moved(old: Mapping[str, str]) -> None:
    """Prints one line, in one process of the job."""
    world = from_environment()
    if world is None or world.is_chief:
        first = next(iter(old))
        more = f" (and {len(old) - 1} more paths)" if len(old) > 1 else ""
        logger.warning(f"warning: {first} has moved; write {old[first]}{more}")


def check_job(config: Config, *, processes: int) -> Config:
    """Checks what must hold between keys and resolves the strategy's automatic values.

    Args:
        config: Valid key by key.
        processes: How many processes the job has or will have.

    Raises:
        UserError: Everything that is wrong.
    """
    problems = checks.problems_of(config, processes)
    if problems:
        raise UserError(*problems)
    settings = settings_of(config.strategy["_target_"])
    return config if settings is None else settings.resolved(config)


def with_replicas(config: Config, replicas: int) -> Config:
    """The configuration with so many replicas if it says auto: a resumed run keeps them, on any number of processes."""
    if config.strategy.get("replicas") != "auto":
        return config
    return config.model_copy(update={"strategy": {**config.strategy, "replicas": replicas}})
