"""Reads and writes the configuration that a run directory keeps.

The file is the resolved configuration and a sha256 sum of it, so a damaged or edited file is found. A resumed run reads
it instead of composing: conf/ may have changed since.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from tfscale import atomic_file
from tfscale.config import compose, yaml_limits
from tfscale.config.find_run import FILE, exists, no_such_run
from tfscale.config.moved_targets import MOVED_KEYS, completed, renamed
from tfscale.config.overrides import Override, key_of, keys_of, several_values
from tfscale.config.preflight import first_lines, typed
from tfscale.config.schemas.config import Config
from tfscale.config.suggest import closest_key
from tfscale.config.targets import consent_problem, modules_in
from tfscale.config.validate import problems_of
from tfscale.errors import UserError

SUM = b"# sha256 of the lines above: "
"""Beginning of the file's last line."""

_POSITION = "its position in the data depends on it; leave it out"
_LEARNED = "the run has learned it from its training data, for all later data; start a new run"
FIXED: Mapping[str, str] = MappingProxyType(
    {
        "train.batch": _POSITION,
        "seed": _POSITION,
        "strategy.replicas": _POSITION,
        "strategy.reduce": "messages that are under way depend on it; leave it out",
        "data.normalize": _LEARNED,
        "data.features": _LEARNED,
        "data.categorical": _LEARNED,
        "data.tokens": _LEARNED,
        "data.vocabulary": _LEARNED,
        "model.freeze": "its optimizer belongs to what trains; start a new run with model.init_from=run:NAME",
        "model.init_from": "it goes on from its checkpoint; start a new run",
    }
)
"""Keys that a resumed run keeps, and why."""


def read(
    folder: Path,
    overrides: Sequence[Override],
    *,
    unused: Mapping[str, object] = MappingProxyType({}),
    addable: Sequence[str] = (),
) -> Config:
    """Reads the configuration of an earlier run and applies overrides of values; groups cannot change.

    What the run trusted must be trusted again where the command uses it.

    Args:
        folder: The run directory.
        overrides: The user's changes.
        unused: Key -> value for what the command does not use, whose code is not loaded.
        addable: Nodes to which a key may be added.

    Raises:
        UserError: There is no such run, its file is damaged, or a key is unknown or out of range.
    """
    for override in overrides:
        if key_of(override) in FIXED:
            raise UserError(f"{key_of(override)} cannot change in an earlier run: {FIXED[key_of(override)]}")
    path = folder / FILE
    if not exists(folder):
        raise UserError(no_such_run(folder))
    composed = _loaded(path)
    for override in overrides:
        _apply(override, composed, path, addable)
    for key, value in unused.items():
        OmegaConf.update(composed, key, value, merge=False)
    if composed.trust and not any(key_of(override) == "trust" for override in overrides):
        _require_trust(composed, folder)
    changed = {key_of(override) for override in overrides}
    if "train.epochs" in changed and "train.steps" not in changed and composed.train.steps is not None:
        raise UserError(
            f"train.epochs has no effect on run {folder.name}: it has train.steps={composed.train.steps}; change that, "
            "or add train.steps=null"
        )
    OmegaConf.update(composed, "run.dir", str(folder.parent))
    OmegaConf.update(composed, "run.name", folder.name)
    try:
        return typed(composed)
    except (OmegaConfBaseException, HydraException) as error:
        if overrides:  # the file alone has no interpolation
            raise UserError(f"an override cannot be used: {first_lines(error)}; give a plain value") from None
        raise _damaged(path, error) from None


def _require_trust(composed: DictConfig, folder: Path) -> None:
    """Asks for the trust that the run began with if anything needs it, and takes it away if nothing does.

    Raises:
        UserError: It is needed.
    """
    named = list(map(str, composed.trust))
    values, _ = renamed(compose.plain(composed))
    file_is_read = consent_problem("", str(composed.model.get("init_from")), ()) is not None
    if file_is_read or len(problems_of({**values, "trust": []})) > len(problems_of(values)):
        what = "runs code of" if modules_in(named) else "began with"
        raise UserError(f"run {folder.name} {what} {', '.join(named)}: add trust=[{','.join(named)}] if you trust it")
    composed.trust = []


def _loaded(path: Path) -> DictConfig:
    text = _sealed_text(path, yaml_limits.check(path))
    try:
        composed = OmegaConf.create(text)
        if isinstance(composed, DictConfig):
            composed = OmegaConf.create(completed(compose.plain(composed)))
        if isinstance(composed, DictConfig) and Config.model_fields.keys() <= composed.keys():
            OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
            return composed
    except (YAMLError, OmegaConfBaseException) as error:
        raise _damaged(path, error) from None
    raise UserError(f"{path} is damaged: it is not a run's configuration; start a new run")


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is damaged: {first_lines(error)}; start a new run")


def _apply(override: Override, composed: DictConfig, path: Path, addable: Sequence[str]) -> None:
    key = key_of(override)
    may_be_added = key.startswith(tuple(f"{node}." for node in addable))
    if override.is_sweep_override():
        raise UserError(several_values(override))
    if override.is_delete():
        raise UserError(f"{override.input_line} cannot be removed from an earlier run; give {key} a value, or null")
    known = list(keys_of(composed))
    if "/" in key or (key in known and isinstance(OmegaConf.select(composed, key), DictConfig)):
        raise UserError(f"{key} cannot change in an earlier run, only values like train.epochs can; start a new run")
    if key in MOVED_KEYS:
        raise UserError(f"{key} is not a key any more; type {MOVED_KEYS[key]} when you start a run")
    if key not in known and may_be_added and not override.is_add():
        raise UserError(f"{key} is not a key of this run; type +{override.input_line} to add it")
    if key not in known and not may_be_added:
        near = closest_key(key, known)
        hint = f"did you mean {near}?" if near else f"see {path}"
        raise UserError(f"{key} is not a key that can change in an earlier run; {hint}")
    try:
        OmegaConf.update(composed, key, override.value(), force_add=may_be_added)
    except (OmegaConfBaseException, HydraException, ValueError) as error:
        raise UserError(f"{override.input_line} cannot be used: {first_lines(error)}; give a plain value") from None


def write(config: Config, folder: Path, *, threads: int | None = None) -> dict[str, Any]:
    """Writes the resolved configuration into a run directory, as a whole or not at all; returns it as plain values.

    Args:
        config: Resolved.
        folder: The run directory.
        threads: Intra-op threads in use, where they are known; a resumed run keeps them.

    Raises:
        OSError: The file cannot be written.
    """
    document = config.model_dump(mode="json")
    if threads is not None:
        document["launch"]["threads"] = threads
    text = OmegaConf.to_yaml(OmegaConf.create(document)).encode()
    atomic_file.replace(folder / FILE, text + SUM + _sum(text))
    return document


def _sum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode() + b"\n"


def _sealed_text(path: Path, content: str) -> str:
    """The lines above the sum.

    Raises:
        UserError: They have another sum.
    """
    text, mark, last = content.encode().rpartition(SUM)
    if mark and last == _sum(text):
        return text.decode()
    raise UserError(
        f"{path} is damaged, or was changed: its sha256 sum is wrong; values are changed on the command line, "
        "KEY=VALUE, or start a new run"
    )
