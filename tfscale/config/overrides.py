"""Parses overrides, KEY=VALUE, for every command, and refuses keys, groups and options that do not exist.

Hydra accepts `+train.epoch=3` and ignores it, and its own message for `train.epoch=3` recommends the `+`. So a key is
looked up before Hydra sees it: in the configuration that the chosen groups give, or, after a `+`, in the schema of the
node that it would be added to.

Hydra's grammar has no unquoted value with a letter beyond ASCII, ~, # or =. Such a value is quoted here, since a path
may have them and a shell removes the user's quotes.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_origin

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tfscale.config.compose import Composer
from tfscale.config.moved_targets import MOVED_KEYS, current
from tfscale.config.schemas.by_target import TARGET_SCHEMAS
from tfscale.config.schemas.fields import Table
from tfscale.config.suggest import closest, closest_key
from tfscale.config.targets import NAMED_NODES
from tfscale.errors import UserError, first_line

_UNREADABLE = "~#!;<>^&`="
"""Characters that Hydra's grammar has no unquoted value with, besides those beyond ASCII."""

LIST_GROUPS = ("tracker",)
"""Groups of which any number of options can be chosen, tracker=[mlflow,wandb]."""

_GRAMMAR = ",[]{}()'\"\\"
"""Characters that have a meaning in Hydra's grammar of values."""


def parse(words: Sequence[str]) -> list[Override]:
    """Parses KEY=VALUE words.

    Raises:
        UserError: A word is not an override.
    """
    for word in words:
        if word.startswith("=") or ("=" not in word and not word.startswith("~")):
            raise UserError(f"{word} must be KEY=VALUE, without spaces or in quotes: 'model.hidden=[64, 32]'")
    try:
        return OverridesParser.create().parse_overrides([_quoted_if_plain(word) for word in words])
    except HydraException as error:
        reason = first_line(error)
        raise UserError(f"an override cannot be read: {reason}; quote values with special characters") from None


def quoted(text: str) -> str:
    """Text as a value of Hydra's grammar, whatever characters it has."""
    return QuotedString(text=text, quote=Quote.single).with_quotes()


def shell_word(key: str, text: str) -> str:
    """KEY=VALUE as a person types it into a shell, quoted for Hydra and for the shell where they need it."""
    word = f"{key}={text}"
    try:
        same = value_text(parse([word])[0]) == text
    except UserError:
        same = False
    return shlex.quote(word if same else f"{key}={quoted(text)}")


def _quoted_if_plain(word: str) -> str:
    """The word, its value quoted if Hydra could not read it and nothing in it has a meaning for Hydra."""
    key, _, value = word.partition("=")
    unreadable = any(letter in _UNREADABLE or ord(letter) > 127 for letter in value)
    if key.startswith("~") or not unreadable or not value.isprintable() or any(letter in _GRAMMAR for letter in value):
        return word
    return f"{key}={quoted(value)}"


def key_of(override: Override) -> str:
    """The key or group of an override, without package and sign."""
    return str(override.key_or_group)


def value_text(override: Override) -> str:
    """The value as text, without quotes: a run called 1e3 is not called 1000.0."""
    value = None if override.is_sweep_override() else override.value()
    return value if isinstance(value, str) else str(override.input_line).partition("=")[2]


def separate(overrides: Sequence[Override], keys: Sequence[str]) -> tuple[dict[str, str], list[Override]]:
    """Separates the overrides of a command's own keys from those of the configuration.

    Args:
        overrides: All overrides of a command line.
        keys: The command's own keys.

    Returns:
        Value by own key, the last one of each key; and all other overrides.

    Raises:
        UserError: A key of the command has several values.
    """
    own = {}
    for override in overrides:
        if key_of(override) in keys:
            if override.is_sweep_override():
                raise UserError(several_values(override))
            own[key_of(override)] = value_text(override)
    return own, [override for override in overrides if key_of(override) not in keys]


def several_values(override: Override) -> str:
    """The message for a sweep where there can be only one value."""
    return f"{override.input_line} has several values, and this command takes one; quote a comma: KEY=\"'a,b'\""


def check_groups(overrides: Sequence[Override], composer: Composer) -> list[str]:
    """Problems with group choices: unknown options, Hydra's own groups, several values without -m."""
    groups = composer.groups()
    problems = []
    for override in overrides:
        key = key_of(override)
        if key == "hydra" or key.startswith(("hydra.", "hydra/")):
            problems.append(
                f"{key} cannot be set: tfscale runs Hydra itself; use run.dir and run.name for folders, -m for sweeps"
            )
        elif override.is_sweep_override() and key in LIST_GROUPS:
            options = str(override.input_line).partition("=")[2]
            problems.append(f"{override.input_line} is a sweep; type {key}=[{options}] for all of them, or add -m")
        elif override.is_sweep_override():
            problems.append(f"{override.input_line} has several values; add -m to run a job for each")
        elif key in groups and not override.is_delete():
            problems += _option_problem(key, override, composer)
        elif "/" in key and key not in groups:
            near = closest(key, groups)
            problems.append(f"{key} is not a group; " + (f"did you mean {near}?" if near else "type: tfscale ls"))
    return problems


def _option_problem(group: str, override: Override, composer: Composer) -> list[str]:
    value = override.value()
    if group in LIST_GROUPS and isinstance(value, list):
        return [problem for each in value for problem in _problem_of_option(group, each, composer)]
    return _problem_of_option(group, value, composer)


def _problem_of_option(group: str, value: object, composer: Composer) -> list[str]:
    options = composer.options(group)
    if value in options:
        return []
    if group in LIST_GROUPS and value is None:
        return [f"{group} must be a list of options, got null; type {group}=[] for none"]
    if group in ("train", "run", "launch") and not isinstance(value, str):
        return [f"{group} must be one of {', '.join(options)}, got {value}; set {group}.KEY=VALUE instead"]
    near = closest(str(value), options)
    hint = f"did you mean {group}={near}?" if near else "type: tfscale ls"
    return [f"{group} must be one of {', '.join(options)}, got {'null' if value is None else value}; {hint}"]


def compose_groups(overrides: Sequence[Override], composer: Composer) -> DictConfig:
    """The configuration that the group choices alone give, which has all keys.

    Raises:
        UserError: Two choices exclude each other.
    """
    chosen = [each for each in overrides if key_of(each) in composer.groups()]
    try:
        return composer.compose([str(each.input_line) for each in chosen])
    except HydraException as error:
        nested = [key_of(each) for each in chosen if "/" in key_of(each)]
        for key in nested:
            parent = key.split("/", maxsplit=1)[0]
            picked = next((each.value() for each in chosen if key_of(each) == parent), None)
            if f"'{key}'" in str(error):
                raise UserError(_no_such_part(key, parent, picked, composer)) from None
        raise UserError(f"the chosen options do not go together: {first_line(error)}") from None


def _no_such_part(key: str, parent: str, picked: object, composer: Composer) -> str:
    part = key.split("/", maxsplit=1)[1]
    having = [option for option in composer.options(parent) if part in composer.compose([f"{parent}={option}"])[parent]]
    chosen = f"{parent}={picked}" if picked else f"the default {parent}"
    return f"{key} cannot be chosen: {chosen} has no {part}; it goes with {', '.join(f'{parent}={o}' for o in having)}"


def check_keys(overrides: Sequence[Override], base: DictConfig, composer: Composer) -> list[str]:
    """Problems with keys that are not in the configuration."""
    groups, known = composer.groups(), [*keys_of(base)]
    problems = []
    for override in overrides:
        key = key_of(override)
        if key in groups:
            continue
        if key in known:
            if override.is_add() and not override.is_force_add():
                problems.append(f"+{key} adds a key that is there already; drop the +")
        elif not (override.is_add() and _addable(key, base)):
            problems.append(_unknown(key, base, composer, [*groups, *known]))
    return problems


def keys_of(node: DictConfig | Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yields all dotted keys of a configuration, nodes before their keys."""
    plain = OmegaConf.to_container(node, resolve=False) if isinstance(node, DictConfig) else node
    for name, value in plain.items() if isinstance(plain, dict) else ():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from keys_of(value, f"{prefix}{name}.")


def _addable(key: str, base: DictConfig) -> bool:
    """True if `+key` may be added: to `NAMED_NODES`, to a `_target_` of the user's own, or as the schema has it."""
    parent = key.rpartition(".")[0]
    if key.startswith(tuple(f"{node}." for node in NAMED_NODES)):
        return True
    while parent:
        try:
            node = OmegaConf.select(base, parent)
        except OmegaConfBaseException:
            return False
        target = node.get("_target_") if isinstance(node, DictConfig) else None
        if target is not None:
            table = TARGET_SCHEMAS.get(current(str(target)))
            return table is None or _has(table, key.removeprefix(f"{parent}.").split("."))
        parent = parent.rpartition(".")[0]
    return False


def _has(table: type[Table], parts: Sequence[str]) -> bool:
    """True if a table has a field, or, for two parts, a field that takes any keys."""
    field = table.model_fields.get(parts[0])
    return field is not None and (len(parts) == 1 or (len(parts) == 2 and get_origin(field.annotation) is dict))


def _unknown(key: str, base: DictConfig, composer: Composer, known: Sequence[str]) -> str:
    group, _, part = key.partition(".")
    if key in MOVED_KEYS:
        return f"{key} is not a key any more; type {MOVED_KEYS[key]}"
    if part and group in composer.groups():
        having = [
            option for option in composer.options(group) if key in keys_of(composer.compose([f"{group}={option}"]))
        ]
        if having:
            choices = [f"{group}={option}" for option in having]
            owners = " and ".join(filter(None, (", ".join(choices[:-1]), choices[-1])))
            return f"{key} is not a key of the chosen {group}; {owners} " + (
                f"have it: type {group}={having[0]} {key}=..."
                if len(having) > 1
                else f"has it: type {group}={having[0]} {key}=..."
            )
    near = closest_key(key, known)
    hint = f"did you mean {near}?" if near else "type: tfscale train --cfg job to see all keys"
    return f"{key} is not a key; {hint}"
