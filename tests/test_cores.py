"""How the processes of a host divide its cores."""

import os

import pytest

from tfscale import cores


def bind(monkeypatch: pytest.MonkeyPatch, allowed: set[int], machine: int, size: int) -> list[set]:
    """What each process was bound to."""
    bound: list[set] = []
    monkeypatch.setattr(cores, "_unbound", set())
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: allowed)
    monkeypatch.setattr(os, "cpu_count", lambda: machine)
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, own: bound.append(set(own)))
    for rank in range(size):
        cores.bind_to_share(rank, size)
    return bound


def test_processes_divide_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "_location", lambda core: (0, core % 4, core))  # 0 and 4 are one physical core
    assert bind(monkeypatch, set(range(8)), 8, 2) == [{0, 4, 1, 5}, {2, 6, 3, 7}]
    assert bind(monkeypatch, {0, 1, 2}, 3, 2) == [{0}, {1, 2}]


def test_what_a_launcher_has_bound_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = bind(monkeypatch, {4, 5, 6, 7}, 8, 2)
    cores.release_thread()
    assert bound == []


def test_work_beside_training_may_run_on_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = bind(monkeypatch, set(range(4)), 4, 2)
    cores.release_thread()
    assert bound == [{0, 1}, {2, 3}, {0, 1, 2, 3}]


def test_more_processes_than_cores_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bind(monkeypatch, {0, 1}, 2, 3) == []
