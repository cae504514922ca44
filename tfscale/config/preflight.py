"""From the words of a command line to a checked configuration, before anything starts.

All problems are reported together, in seconds, with TensorFlow not yet imported: a job that cannot work must not take
a queue slot, N processes and half a minute to say so.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from tfscale import atomic_file
from tfscale.config import checks, moved_targets, overrides, validate, yaml_limits
from tfscale.config.compose import Composer, composer, plain
from tfscale.config.schemas.config import Config
from tfscale.config.strategy_settings import settings_of
from tfscale.config.suggest import closest_key
from tfscale.errors import UserError
from tfscale.terminal import logger
from tfscale.world import from_environment

SAVED = "config.yaml"
"""The resolved configuration in a run directory."""

SUM = b"# sha256 of the lines above: "
"""What its last line begins with."""

FIXED = ("train.batch", "seed", "strategy.replicas")
"""Keys that an earlier run keeps."""

_UNCOMPOSABLE = (
    *(YAMLError, HydraException, OmegaConfBaseException, ValueError, TypeError, RecursionError),
    OSError,  # a name that no file can have
)
"""What composing raises on what a user wrote."""


def preflight(words: Sequence[str], *, config_dir: str | None) -> Config:
    """Composes and checks a configuration key by key; `check_job` looks at the rest.

    Args:
        words: Overrides, KEY=VALUE.
        config_dir: The user's own conf/ folder, which comes first.

    Raises:
        UserError: Everything that is wrong.
    """
    parsed = overrides.parse(words)
    with composer(config_dir) as hydra:
        try:
            return _typed(_compose(words, parsed, hydra))
        except _UNCOMPOSABLE as error:
            raise UserError(f"the configuration cannot be composed: {_first_line(error)}") from None


def _compose(words: Sequence[str], parsed: Sequence[overrides.Override], hydra: Composer) -> DictConfig:
    problems = overrides.check_groups(parsed, hydra)
    if problems:
        # Keys depend on the choices, so they are looked at against the defaults of what could not be chosen.
        sound = [each for each in parsed if not overrides.check_groups([each], hydra)]
        base = overrides.compose_groups(sound, hydra)
        raise UserError(*problems, *overrides.check_keys(sound, base, hydra))
    base = overrides.compose_groups(parsed, hydra)
    problems = overrides.check_keys(parsed, base, hydra)
    if base.get("trust"):
        problems.append("trust must be given on the command line, where it is seen; type trust=[MODULE]")
    if problems:
        raise UserError(*problems)
    return hydra.compose(words)


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split("\n")[:2])


def _typed(composed: DictConfig) -> Config:
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
        logger.warning(f"warning: {first} has moved; write {old[first]}{more}")


def saved(folder: Path, words: Sequence[str]) -> Config:
    """The configuration of an earlier run, with values (not groups) changed.

    Raises:
        UserError: There is no such run, or a key is unknown or out of range.
    """
    for word in words:
        if (key := word.split("=", 1)[0].lstrip("+")) in FIXED:
            raise UserError(
                f"{key} cannot change in an earlier run: its position in the data depends on it; leave it out"
            )
    path = folder / SAVED
    if not path.is_file():
        known = sorted(each.parent.name for each in folder.parent.glob(f"*/{SAVED}"))
        hint = f"runs there: {', '.join(known[-8:])}" if known else f"there are no runs in {folder.parent}"
        raise UserError(f"run {folder.name} does not exist in {folder.parent}; {hint}")
    text = _sealed_text(path, yaml_limits.check(path))
    try:
        composed = OmegaConf.create(text)
        if not isinstance(composed, DictConfig) or not Config.model_fields.keys() <= composed.keys():
            raise UserError(f"{path} is damaged: it is not a run's configuration; start a new run")
        if composed.trust and not any(word.split("=", 1)[0].lstrip("+") == "trust" for word in words):
            raise UserError(
                f"run {folder.name} runs code of {', '.join(map(str, composed.trust))}: add "
                f"trust=[{','.join(map(str, composed.trust))}] if you trust it"
            )
        known_keys = list(overrides.keys_of(composed))
        for override in overrides.parse(words):
            key = overrides.key_of(override)
            if isinstance(OmegaConf.select(composed, key), DictConfig) or "/" in key:
                raise UserError(
                    f"{key} cannot change in an earlier run, only values like train.epochs can; start a new run"
                )
            if key not in known_keys:
                near = closest_key(key, known_keys)
                hint = f"did you mean {near}?" if near else f"see {path}"
                raise UserError(f"{key} is not a key that can change in an earlier run; {hint}")
            OmegaConf.update(composed, key, override.value())
        OmegaConf.update(composed, "run.dir", str(folder.parent))
        OmegaConf.update(composed, "run.name", folder.name)
        return _typed(composed)
    except (YAMLError, OmegaConfBaseException, HydraException, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged: {_first_line(error)}; start a new run") from None


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


def write(config: Config, folder: Path, *, threads: int | None = None) -> None:
    """Writes the resolved configuration into a run directory, as a whole or not at all.

    Args:
        config: Resolved.
        folder: Of the run.
        threads: That one operation uses, where it is known: a resumed run keeps them.
    """
    document = config.model_dump(mode="json")
    if threads is not None:
        document["launch"]["threads"] = threads
    text = OmegaConf.to_yaml(OmegaConf.create(document)).encode()
    atomic_file.replace(folder / SAVED, text + SUM + _sum(text))


def _sum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode() + b"\n"


def _sealed_text(path: Path, content: str) -> str:
    """What `write` has written, of what the file holds.

    Raises:
        UserError: It is not that any more.
    """
    text, mark, last = content.encode().rpartition(SUM)
    if mark and last == _sum(text):
        return text.decode()
    raise UserError(
        f"{path} is damaged, or was changed: its sha256 sum is wrong; values are changed on the command line, "
        "KEY=VALUE, or start a new run"
    )
