"""How the processes of a host divide its cores."""

import os

import pytest

from tfscale import devices


@pytest.mark.parametrize(
    ("cores", "size", "shares"),
    [
        ({0, 1}, 2, [{0}, {1}]),
        ({0, 1, 2, 3, 4}, 2, [{0, 1}, {2, 3, 4}]),
        ({4, 6}, 3, [{4}, {4}, {6}]),
        ({7}, 2, [{7}, {7}]),
    ],
)
def test_processes_divide_the_cores_that_they_may_use(
    monkeypatch: pytest.MonkeyPatch, cores: set[int], size: int, shares: list[set[int]]
) -> None:
    bound: list[set[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores)
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, own: bound.append(own))
    got = [devices._own_cores(rank, size) for rank in range(size)]
    assert got == bound
    assert all(got)
    assert set.union(*got) <= cores
    if size <= len(cores):
        assert got == shares
