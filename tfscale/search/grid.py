"""From overrides with several values to one set of overrides a job."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tfscale.config.overrides import Override


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One job of a sweep.

    Attributes:
        number: From 0.
        overrides: Its overrides, every one with a single value.
        varied: The values that tell it from the others, by key.
    """

    number: int
    overrides: Sequence[str]
    varied: Mapping[str, str]

    @property
    def name(self) -> str:
        """The folder of its run in the sweep's folder."""
        return f"job-{self.number:03d}"


def expand(parsed: Sequence[Override]) -> list[Combination]:
    """All combinations, the last override varying fastest."""
    choices = [
        [f"{each.get_key_element()}={value}" for value in each.sweep_string_iterator()]
        if each.is_sweep_override()
        else [str(each.input_line)]
        for each in parsed
    ]
    sweeping = [index for index, each in enumerate(parsed) if each.is_sweep_override()]
    return [
        Combination(
            number=number,
            overrides=combination,
            varied=dict(combination[index].lstrip("+").split("=", 1) for index in sweeping),
        )
        for number, combination in enumerate(itertools.product(*choices))
    ]
