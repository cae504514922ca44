"""Marks for tests with many variations: `make test` runs some of them, `make test-all` the rest."""

from collections.abc import Iterable
from typing import Any

import pytest


def quick(cases: Iterable[Any], *, only: Iterable[Any]) -> list[Any]:
    """Returns the cases for `parametrize`; all but `only` are marked slow.

    Args:
        cases: Values, or tuples of values.
        only: Those of the cases that a quick test takes.
    """
    found, wanted = list(cases), list(only)
    missing = [case for case in wanted if case not in found]
    if missing:
        raise ValueError(f"quick cases must be among the cases, got {missing}")
    return [
        case
        if case in wanted
        else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
        for case in found
    ]
