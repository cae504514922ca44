"""The keys of `tfscale evaluate`: those of the command, and what it does not use of a run's configuration."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from hydra.core.override_parser.types import Override
from pydantic import ValidationError

from tfscale.config.overrides import key_of, several_values
from tfscale.config.schemas.evaluation import EvaluationOptions
from tfscale.config.suggest import closest
from tfscale.errors import UserError

AVERAGING: Mapping[str, Any] = MappingProxyType(
    {
        "_target_": "tfscale.strategies.gradient_averaging.strategy.GradientAveraging",
        "collective": {"_target_": "auto"},
        "reproducible": False,
    }
)
"""The strategy that evaluates a saved model, whatever trained it: a replica a process."""

CONSTANT: Mapping[str, Any] = MappingProxyType({"_target_": "tfscale.training.schedules.constant", "warmup_steps": 0})
"""A schedule that needs no validation examples."""

NEVER_STOPS: Mapping[str, Any] = MappingProxyType({"patience": None, "target": None, "keep_best": False})
"""Values of `early_stopping` that need no validation examples."""

UNUSED: Mapping[str, object] = MappingProxyType(
    {"callbacks": {}, "strategy": {**AVERAGING, "replicas": "auto"}, "model.init_from": None}
)
"""Keys that no evaluation uses, and values without code: a trained model needs no trust for them."""

UNUSED_BY_MODEL: Mapping[str, object] = MappingProxyType(
    {**UNUSED, "metrics": {"auto": {"_target_": "auto"}}, "tracker": {}}
)
"""Keys that no use of the trained model alone needs, likewise."""

SUITES = "evaluation"
_KEYS = {
    SUITES: "suites",
    **{
        name if name == "checkpoint" else f"{SUITES}.{name}": name
        for name in EvaluationOptions.model_fields
        if name != "suites"
    },
}
"""Key as typed -> field."""


def separate_options(overrides: Sequence[Override]) -> tuple[EvaluationOptions, list[Override]]:
    """Returns the command's own keys, and all other overrides.

    Raises:
        UserError: A key is unknown or a value out of range.
    """
    values: dict[str, Any] = {}
    others = []
    for override in overrides:
        key = key_of(override)
        if key.split(".")[0] != SUITES and key not in _KEYS:
            others.append(override)
            continue
        if key not in _KEYS:
            near = closest(key, list(_KEYS))
            raise UserError(f"{key} is not a key; " + (f"did you mean {near}?" if near else f"see {', '.join(_KEYS)}"))
        if override.is_sweep_override():
            raise UserError(several_values(override) if key != SUITES else _in_brackets(override))
        values[_KEYS[key]] = override.value()
    if isinstance(values.get("suites"), str) and values["suites"] != "auto":
        values["suites"] = [values["suites"]]
    if isinstance(values.get("threshold"), int):
        values["threshold"] = float(values["threshold"])
    try:
        return EvaluationOptions.model_validate(values), others
    except ValidationError as error:
        raise UserError(*dict.fromkeys(_problem(str(each["loc"][0]), values) for each in error.errors())) from None


def _in_brackets(override: Override) -> str:
    key, _, value = str(override.input_line).partition("=")
    return f"{key} must be a list, got {value}; type {key}=[{value}]"


def _problem(field: str, values: Mapping[str, Any]) -> str:
    key = next(key for key, name in _KEYS.items() if name == field)
    value = values[field]
    return (
        f"{key} must be {EvaluationOptions.model_fields[field].description}, got "
        f"{'null' if value is None else value}; leave it out for the default"
    )
