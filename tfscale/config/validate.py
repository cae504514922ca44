"""Checks a composed configuration against the schemas and reports all problems at once."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from tfscale.config.schemas.by_target import TARGET_SCHEMAS
from tfscale.config.schemas.common import COMMON_KEYS, separated
from tfscale.config.schemas.config import Config
from tfscale.config.schemas.data import PYTHON
from tfscale.config.schemas.fields import Table
from tfscale.config.strategy_settings import CANDIDATES
from tfscale.config.suggest import closest
from tfscale.config.targets import (
    ALLOWED_AUGMENTATIONS,
    ALLOWED_NESTED_TARGETS,
    ALLOWED_TARGETS,
    NAMED_NODES,
    is_permitted,
    modules_in,
    plugin_modules,
    refusal,
)

STRATEGY_PATHS = tuple(path for path in ALLOWED_TARGETS if path.partition(".")[0] == "strategy")
"""The strategy's node and its parts with rules of their own."""


def problems_of(values: Mapping[str, Any]) -> list[str]:
    """Returns a message for each unknown or missing key, wrong type, value out of range and refused `_target_`."""
    found = _table_problems(Config, values, "")
    trust = values.get("trust")
    named = trust if isinstance(trust, list) else [trust] if isinstance(trust, str) else []
    trusted = (*modules_in(named), *plugin_modules())
    candidates = _candidates(values)
    separate = {*ALLOWED_TARGETS, *([f"strategy.{CANDIDATES}"] if candidates else [])}
    for path in ALLOWED_TARGETS:
        node = _at(values, path)
        if path in NAMED_NODES and isinstance(node, dict):
            for name, named in node.items():
                found += _node_problems(f"{path}.{name}", named, ALLOWED_TARGETS[path], trusted)
        elif node is not None:
            found += _problems_at(path, path, node, trusted, separate)
    for name, candidate in candidates.items():
        if isinstance(candidate, dict) and candidate.get("_target_") == _at(values, "strategy._target_"):
            found.append(f"strategy.{CANDIDATES}.{name} must be a strategy, got another choice; leave it out")
            continue
        for path in STRATEGY_PATHS:
            node = _at({"strategy": candidate}, path)
            if node is not None:
                key = path.replace("strategy", f"strategy.{CANDIDATES}.{name}", 1)
                found += _problems_at(key, path, node, trusted, {*ALLOWED_TARGETS})
    found += [
        f"{path} must not hold ${{ once it is composed: it would be composed again; leave out the backslash"
        for path in _composed_twice(values, "")
    ]
    return list(dict.fromkeys(found))


def _candidates(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the strategies among which the start of the job chooses; none unless the strategy is such a choice."""
    table = TARGET_SCHEMAS.get(str(_at(values, "strategy._target_")))
    found = _at(values, f"strategy.{CANDIDATES}")
    return found if isinstance(found, dict) and table is not None and CANDIDATES in table.model_fields else {}


def _problems_at(key: str, path: str, node: object, trusted: Sequence[str], separate: Collection[str]) -> list[str]:
    """Problems with the node of a key, for which the rules of a path hold; paths in `separate` are checked alone."""
    if not isinstance(node, dict):
        return [f"{key} must be a node with a _target_, got {type(node).__name__}; type: tfscale ls"]
    own, common = separated(path, node)
    return [
        *_node_problems(key, own, ALLOWED_TARGETS[path], trusted, path=path, separate=separate),
        *_common_problems(path, common, trusted),
        *_function_problems(own, trusted),
    ]


def _composed_twice(value: object, path: str) -> Iterator[str]:
    """Yields the paths of strings with an interpolation that is left after composing."""
    if isinstance(value, str) and "${" in value:
        yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        where = f"{path}.{name}" if path else str(name)
        yield from _composed_twice(name, where)
        yield from _composed_twice(part, where)


def typed(values: Mapping[str, Any]) -> Config:
    """Returns the typed configuration; whole numbers become floats where a float is meant, as Keras insists.

    Args:
        values: A configuration without problems.
    """
    nodes = {
        path: _typed_node(path, _at(values, path))
        for path in ALLOWED_TARGETS
        if path not in NAMED_NODES and _at(values, path)
    }
    changed = dict(values)
    for path in sorted(nodes, key=len):
        head, _, part = path.partition(".")
        changed[head] = {**changed[head], part: nodes[path]} if part else nodes[path]
    if candidates := _candidates(changed):
        own = {name: _typed_strategy(candidate) for name, candidate in candidates.items()}
        changed["strategy"] = {**changed["strategy"], CANDIDATES: own}
    return Config.model_validate(changed)


def _typed_strategy(node: Mapping[str, Any]) -> object:
    parts = {path.partition(".")[2]: _at({"strategy": node}, path) for path in STRATEGY_PATHS}
    return _typed_node(
        "strategy", {**node, **{part: _typed_node("", each) for part, each in parts.items() if part and each}}
    )


def _common_problems(path: str, node: Mapping[str, Any], trusted: Sequence[str]) -> list[str]:
    """Problems with the keys that every node of this path has."""
    if path not in COMMON_KEYS:
        return []
    found = _table_problems(COMMON_KEYS[path], node, f"{path}.")
    layers = node.get("augment")
    for index, layer in enumerate(layers if isinstance(layers, list) else ()):
        found += _node_problems(f"{path}.augment[{index}]", layer, ALLOWED_AUGMENTATIONS, trusted)
    return found


def _function_problems(node: Mapping[str, Any], trusted: Sequence[str]) -> list[str]:
    """Refuses a function of data=python that a `_target_` could not name either."""
    function = node.get("function")
    if node.get("_target_") != PYTHON or not isinstance(function, str) or is_permitted(function, (), trusted):
        return []
    return [
        f"data.function must be a function of a module that you trust, got {function}; if that code is yours, type "
        f"trust=[{function.rpartition('.')[0] or 'MODULE'}]"
    ]


def _typed_node(path: str, node: object) -> object:
    if not isinstance(node, dict) or (table := TARGET_SCHEMAS.get(node["_target_"])) is None:
        return node
    own, common = separated(path, {key: value for key, value in node.items() if key != "_target_"})
    typed_own = table.model_validate(own).model_dump(by_alias=True, exclude_unset=True)
    return {"_target_": node["_target_"], **typed_own, **common}


def _at(values: Mapping[str, Any], path: str) -> object:
    node: object = values
    for part in path.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _node_problems(
    key: str,
    node: object,
    allowed: Sequence[str],
    trusted: Sequence[str],
    *,
    path: str = "",
    separate: Collection[str] = tuple(ALLOWED_TARGETS),
) -> list[str]:
    """Problems with the node of a key, apart from its parts whose paths, below `path`, are in `separate`."""
    if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
        return [f"{key}._target_ must name a class or function; type: tfscale ls"]
    target = node["_target_"]
    if not is_permitted(target, allowed, trusted):
        return [refusal(f"{key}._target_", target, allowed)]
    inside = [
        refusal(f"{key}.{where}", each, ALLOWED_NESTED_TARGETS)
        for where, each in _targets_inside(node, path or key, separate)
        if not is_permitted(each, ALLOWED_NESTED_TARGETS, trusted)
    ]
    inside += [f"{key} must not have {each}; give keyword arguments by name" for each in _hydra_keys(node)]
    if "_partial_" in node and key != "optimizer":
        inside.append(f"{key} must not have _partial_; only an optimizer has")
    table = TARGET_SCHEMAS.get(target)
    own = {name: value for name, value in node.items() if name != "_target_"}
    return inside + (_table_problems(table, own, f"{key}.") if table is not None else [])


def _targets_inside(node: Mapping[str, Any], path: str, separate: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yields the nested `_target_`s of a node with their paths, except in parts that are checked alone."""
    for key, value in node.items():
        if f"{path}.{key}" not in separate:
            for child in _nodes_in(value):
                if "_target_" in child:
                    yield f"{key}._target_", str(child["_target_"])
                inside = _targets_inside(child, f"{path}.{key}", separate)
                yield from ((f"{key}.{where}", target) for where, target in inside)


def _nodes_in(value: object) -> Iterator[dict[str, Any]]:
    """Yields the nodes that a value is or contains, also in nested lists."""
    if isinstance(value, dict):
        yield value
    elif isinstance(value, list):
        for child in value:
            yield from _nodes_in(child)


def _hydra_keys(node: Mapping[str, Any]) -> Iterator[str]:
    """Yields Hydra's own keys anywhere in a node, except `_target_` and `_partial_`."""
    for key, value in node.items():
        if str(key).startswith("_") and key not in ("_target_", "_partial_"):
            yield str(key)
        for child in _nodes_in(value):
            yield from _hydra_keys(child)


def _table_problems(table: type[Table], values: Mapping[str, Any], prefix: str) -> list[str]:
    try:
        table.model_validate(dict(values))
    except ValidationError as error:
        return list(dict.fromkeys(_message(table, each, prefix) for each in error.errors()))
    return []


def _message(table: type[Table], error: Mapping[str, Any], prefix: str) -> str:
    """Returns the message for one pydantic error; an error inside a field is reported for the field."""
    location = [str(part) for part in error["loc"]]
    key, value = prefix + location[0], error["input"]
    field = table.model_fields.get(location[0].strip("_")) or table.model_fields.get(location[0])
    nested = field.annotation if field is not None else None
    if isinstance(nested, type) and issubclass(nested, Table) and len(location) > 1:
        return _message(nested, {**error, "loc": location[1:]}, f"{key}.")
    if error["type"] == "extra_forbidden":
        near = closest(location[0], table.model_fields)
        return f"{key} is not a key; " + (f"did you mean {prefix}{near}?" if near else "leave it out")
    rule = field.description if field is not None and field.description else "a node of keys"
    if error["type"] == "missing":
        return f"{key} is missing; it must be {rule}"
    if len(location) > 1 and not isinstance(value, str | int | float | bool | None):
        value = "what does not fit"
    return f"{key} must be {rule}, got {'null' if value is None else value}"
