"""The interface of a suite: a monoid over the examples, whose states are arrays by name.

States of parts of the examples merge into the state of all of them in any order, bit for bit: they hold counts (int64),
exact sums (see `exact_sums`) and sets, never a rounded sum. The figures are computed once, from the merged state, by
scikit-learn wherever it has them.

A figure that is 0/0 is null in JSON, and "undefined" beside it says why: 0 or NaN would be taken for a result.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, final

import numpy as np
import safetensors.numpy

State: TypeAlias = Mapping[str, np.ndarray]
"""Arrays by name; never changed in place."""

Figures: TypeAlias = dict[str, Any]
"""A JSON document."""

UNDEFINED = "undefined"
"""Key of the reasons for the figures that are null."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Examples with the outputs of a model.

    Attributes:
        targets: [b, ...], as the task encodes them.
        scores: [b, ...] float32, the model's outputs.
        numbers: [b] int64, the numbers of the examples in their split.
    """

    targets: np.ndarray
    scores: np.ndarray
    numbers: np.ndarray

    def only(self, chosen: np.ndarray) -> "Scored":
        """Returns the examples where `chosen` [b] is true."""
        return Scored(targets=self.targets[chosen], scores=self.scores[chosen], numbers=self.numbers[chosen])


class Suite(Protocol):
    """Figures of one output of a model."""

    @property
    def name(self) -> str:
        """The suite, as in `evaluation=`."""
        ...

    def zero(self) -> State:
        """Returns the state of no examples."""
        ...

    def of(self, scored: Scored) -> State:
        """Returns the state of some examples."""
        ...

    def merge(self, one: State, other: State) -> State:
        """Returns the state of the examples of both; associative and commutative."""
        ...

    def figures(self, state: State) -> Figures:
        """Returns the figures; see `document` for what they hold."""
        ...

    def draw(self, state: State, folder: Path, stem: str) -> Sequence[Path]:
        """Draws the state.

        Args:
            state: Of all examples.
            folder: Where the pictures go.
            stem: Beginning of their names.

        Returns:
            The pictures; none where there is nothing to draw.
        """
        ...


@final
class Fold:
    """Merges the states of batches as a tree, so that the cost of a batch does not grow with those before it.

    Args:
        suite: Whose states they are.
    """

    def __init__(self, suite: Suite) -> None:
        self._suite = suite
        self._pending: list[tuple[int, State]] = []

    def add(self, state: State) -> None:
        """Takes the state of a batch."""
        level = 0
        while self._pending and self._pending[-1][0] == level:
            state = self._suite.merge(self._pending.pop()[1], state)
            level += 1
        self._pending.append((level, state))

    def state(self) -> State:
        """Returns the state of all examples."""
        total = self._suite.zero()
        for _, state in self._pending:
            total = self._suite.merge(total, state)
        return total


@dataclass(frozen=True, kw_only=True)
class Undefined:
    """In place of a figure that the examples do not determine.

    Attributes:
        why: The reason, for a person.
    """

    why: str


def document(figures: Mapping[str, Any]) -> Figures:
    """Returns figures as JSON values: null for what is `Undefined`, and the reasons under "undefined" beside it.

    Raises:
        ValueError: A figure is not finite: a suite has forgotten a case.
    """
    plain: Figures = {}
    reasons = {name: value.why for name, value in figures.items() if isinstance(value, Undefined)}
    for name, value in figures.items():
        plain[name] = _plain(value)
    return {**plain, UNDEFINED: reasons} if reasons else plain


def _plain(value: Any) -> Any:
    if isinstance(value, Undefined):
        return None
    if isinstance(value, Mapping):
        return document(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not np.isfinite(value):
        raise ValueError(f"a figure is {value}; it must be finite, or Undefined with a reason")
    return value


def defined(value: float, why: str) -> float | Undefined:
    """Returns a figure of scikit-learn, which says NaN for 0/0."""
    return Undefined(why=why) if np.isnan(value) else float(value)


def packed(states: Mapping[str, State]) -> bytes:
    """Returns states by key as bytes, a multiple of 4."""
    flat = {
        json.dumps([key, name]): np.ascontiguousarray(each)
        for key, state in states.items()
        for name, each in state.items()
    }
    content = safetensors.numpy.save(flat)
    return len(content).to_bytes(8, "little") + content + b"\0" * (-len(content) % 4)


def unpacked(content: bytes) -> dict[str, State]:
    """Returns what `packed` packed."""
    states: dict[str, dict[str, np.ndarray]] = {}
    length = int.from_bytes(content[:8], "little")
    for path, each in safetensors.numpy.load(content[8 : 8 + length]).items():
        key, name = json.loads(path)
        states.setdefault(key, {})[name] = each
    return dict(states)
