"""Expands overrides with several values into one list of overrides for each job."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tfscale.config.overrides import Override, key_of


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One job of a sweep.

    Attributes:
        number: Index of the job, from 0.
        overrides: Overrides with a single value each.
        varied: Value by key, of the keys that the sweep varies.
    """

    number: int
    overrides: Sequence[str]
    varied: Mapping[str, str]

    @property
    def name(self) -> str:
        """Name of its run, a folder in the sweep's folder."""
        return f"job-{self.number:03d}"


def expand(parsed: Sequence[Override]) -> list[Combination]:
    """Returns all combinations; the last override varies fastest."""
    choices = [[*each.sweep_string_iterator()] if each.is_sweep_override() else [None] for each in parsed]
    return [
        Combination(
            number=number,
            overrides=[
                str(each.input_line) if value is None else f"{each.get_key_element()}={value}"
                for each, value in zip(parsed, values, strict=True)
            ],
            varied={key_of(each): value for each, value in zip(parsed, values, strict=True) if value is not None},
        )
        for number, values in enumerate(itertools.product(*choices))
    ]
