"""Conditions, order and columns of `tfscale runs --where --sort --columns`."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import ge, gt, le, lt
from types import MappingProxyType
from typing import Any

from tfscale.commands.run_rows import RunRow
from tfscale.config.suggest import closest_key
from tfscale.errors import UserError

_CONDITION = re.compile(r"\s*([\w./-]+)\s*(<=|>=|!=|==|=|<|>)\s*(.*?)\s*", re.DOTALL)

_ORDERED: Mapping[str, Callable[[Any, Any], bool]] = MappingProxyType({"<": lt, "<=": le, ">": gt, ">=": ge})

SEARCHED = 100
"""Runs whose keys are looked through for the one that was meant."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A comparison of a key with a value.

    Attributes:
        key: As typed on the command line of `tfscale train`, or in summary.json, or a column.
        comparison: = != < <= > or >=.
        value: A number, true, false, None for null, a list, or text.
    """

    key: str
    comparison: str
    value: Any

    def holds(self, row: RunRow) -> bool:
        """Returns whether it holds for a run; a key that the run does not have is null there, and in no order."""
        own = row.value(self.key)
        if self.comparison in _ORDERED:
            return _is_number(own) and _ORDERED[self.comparison](own, self.value)
        same = own == self.value and isinstance(own, bool) == isinstance(self.value, bool)
        return same is (self.comparison == "=")


def condition(text: str) -> Condition:
    """Parses KEY>VALUE and the like.

    Raises:
        UserError: It is no comparison, or compares the size of something that is not a number.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise UserError(f"--where must be KEY=VALUE, or with != < <= > >=, got {text}; quote it: --where 'steps>100'")
    key, comparison, word = match.groups()
    value = _value(word)
    if comparison in _ORDERED and not _is_number(value):
        raise UserError(f"--where {key}{comparison} must have a number, got {word or 'nothing'}; for text use = or !=")
    return Condition(key=key, comparison="=" if comparison == "==" else comparison, value=value)


def _value(word: str) -> Any:
    try:
        return json.loads(word)
    except ValueError:
        pass
    try:
        return float(word)  # 1e-3 is JSON, .5 and 1. are not
    except ValueError:
        pass
    if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"":
        return word[1:-1]
    if word.startswith("[") and word.endswith("]"):  # [a,b], as Hydra writes it
        return [_value(part.strip()) for part in word[1:-1].split(",")]
    return word


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def require_keys(keys: Iterable[str], rows: Sequence[RunRow]) -> None:
    """Checks that some run has each key.

    Raises:
        UserError: None has one of them.
    """
    for key in keys:
        if not any(row.has(key) for row in rows):
            known = dict.fromkeys(name for row in rows[-SEARCHED:] for name in row.all())
            near = closest_key(key, known)
            hint = f"did you mean {near}?" if near else "type: tfscale runs --json to see all keys"
            raise UserError(f"{key} is not a key of any run; {hint}")


def ordered(rows: Sequence[RunRow], key: str, *, reverse: bool) -> list[RunRow]:
    """Sorts runs by a key: a metric's best first, other numbers and text rising; those without a value come last.

    Args:
        rows: The runs.
        key: The key.
        reverse: Whether the order is turned round; those without a value still come last.
    """
    falls = any(row.direction(key) == "max" for row in rows) is not reverse
    having = [row for row in rows if row.value(key) is not None]
    numbers = [row for row in having if _is_number(row.value(key))]
    others = [row for row in having if not _is_number(row.value(key))]
    numbers.sort(key=lambda row: row.value(key), reverse=falls)
    others.sort(key=lambda row: str(row.value(key)), reverse=falls)
    return [*numbers, *others, *(row for row in rows if row.value(key) is None)]
