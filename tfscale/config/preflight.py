"""Composes and checks a configuration before anything starts.

All problems are reported together, within a second or two, before TensorFlow is imported: a job that cannot work must
not wait in a queue and start N processes first.
"""

from collections.abc import Mapping, Sequence

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from tfscale import user_paths
from tfscale.config import checks, moved_targets, overrides, validate
from tfscale.config.compose import Composer, composer, plain
from tfscale.config.schemas.config import Config
from tfscale.errors import UserError
from tfscale.terminal import say
from tfscale.world import from_environment

SGD = "keras.optimizers.SGD"
"""Target of `optimizer=nesterov` and `optimizer=sgd`."""

_UNCOMPOSABLE = (
    *(YAMLError, HydraException, OmegaConfBaseException, ValueError, TypeError, RecursionError),
    OSError,  # a name that no file can have, or a file that cannot be read
)
"""Exceptions that composing raises on a user's mistake."""


def preflight(words: Sequence[str], *, config_dir: str | None) -> Config:
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
            config = typed(_compose(parsed, hydra))
        except _UNCOMPOSABLE as error:
            raise UserError(f"the configuration cannot be composed: {first_lines(error)}") from None
    user_paths.expanded(config.run.dir)  # so that it can be expanded wherever it is used
    return config


def _compose(parsed: Sequence[overrides.Override], hydra: Composer) -> DictConfig:
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
    return hydra.compose([str(each.input_line) for each in parsed])


def first_lines(error: Exception) -> str:
    """The first two lines of what Hydra or OmegaConf says, as one."""
    return " ".join(str(error).split("\n")[:2])


def typed(composed: DictConfig) -> Config:
    """Resolves a composed configuration and holds it against the schema.

    Raises:
        UserError: Every breach.
    """
    values, old = moved_targets.renamed(plain(composed))
    values.pop("recipe", None)
    values.pop("local", None)
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
        say(f"warning: {first} has moved; write {old[first]}{more}")


def check_job(config: Config, *, processes: int) -> Config:
    """Checks what must hold between keys and returns the configuration with nothing left `auto` of sharing.

    Args:
        config: Valid key by key.
        processes: How many processes the job has or will have.

    Raises:
        UserError: Everything that is wrong.
    """
    problems = checks.problems_of(config, processes)
    if problems:
        raise UserError(*problems)
    return _decided(config)


def _decided(config: Config) -> Config:
    """Decides what strategy=sharing leaves `auto`: what replicas share, how it adds up, and where momentum is applied.

    SGD's step is linear in the gradient, so gradients are shared, and its momentum moves before the compression. Other
    optimizers divide by what they have seen of gradients, which sparse sums distort: each replica runs its own, and
    the updates are shared. Of W replicas each sees the root of W times the noise of the mean gradient, and makes its
    updates smaller by as much, so they are summed over that root.
    """
    if not {"shares", "combine", "momentum", "nesterov"} <= config.strategy.keys():
        return config
    strategy, optimizer = dict(config.strategy), dict(config.optimizer)
    linear = optimizer["_target_"] == SGD
    if strategy["shares"] == "auto":
        before = strategy["momentum"] != "auto" and strategy["momentum"] > 0
        strategy["shares"] = "gradients" if before or linear else "updates"
    if strategy["combine"] == "auto":
        strategy["combine"] = "mean" if strategy["shares"] == "gradients" or linear else "root"
    takes_over = strategy["shares"] == "gradients" and strategy["momentum"] == "auto"
    if strategy["nesterov"] == "auto":
        strategy["nesterov"] = bool(optimizer.get("nesterov", False)) and takes_over
    if strategy["momentum"] == "auto":
        strategy["momentum"] = float(optimizer.get("momentum", 0.0)) if takes_over else 0.0
    if takes_over and "momentum" in optimizer:
        optimizer |= {"momentum": 0.0, "nesterov": False}
    return config.model_copy(update={"strategy": strategy, "optimizer": optimizer})


def with_replicas(config: Config, replicas: int) -> Config:
    """The configuration with so many replicas if it says auto: a resumed run keeps them, on any number of processes."""
    if config.strategy.get("replicas") != "auto":
        return config
    return config.model_copy(update={"strategy": {**config.strategy, "replicas": replicas}})
