"""All processes of a job stop at one step, whichever of them is asked."""

import random
from pathlib import Path

import pytest

from tfscale.errors import EarlyEnd
from tfscale.supervision.coordinated_stop import CoordinatedStop, agreed_stop
from tfscale.supervision.signals import Stopped
from tfscale.world import World


def world(rank: int, size: int) -> World:
    return World(rank=rank, size=size, local_rank=rank, local_size=size)


def test_a_process_alone_stops_at_once(tmp_path: Path) -> None:
    pending: list[Stopped] = []
    stop = CoordinatedStop(tmp_path, "a", 0, World(), pending=lambda: pending[0] if pending else None, max_time=None)
    assert stop(1, lambda step: True) is None
    pending.append(Stopped(15))
    answer = stop(2, lambda step: True)
    assert isinstance(answer, Stopped)
    assert answer.exit_code == 143
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("asked", [0, 2])
@pytest.mark.parametrize("seed", range(20))
def test_all_stop_at_one_step_in_any_order(tmp_path: Path, every: int, asked: int, seed: int) -> None:
    """Ranks go on in any order, but none completes a step in which they meet before all others have begun it."""
    chance = random.Random(seed)
    begins = chance.randrange(20)
    steps, stopped = [0, 0, 0], dict[int, int]()
    stops = [
        CoordinatedStop(
            tmp_path,
            "a",
            0,
            world(rank, 3),
            pending=lambda rank=rank: Stopped(15) if rank == asked and steps[rank] >= begins else None,
            max_time=None,
        )
        for rank in range(3)
    ]

    def is_sync_step(step: int) -> bool:
        return step % every == 0

    for _ in range(1000):
        rank = chance.randrange(3)
        coming = steps[rank] + 1
        alone = is_sync_step(coming) and not all(step >= coming - 1 for step in steps)
        if rank in stopped or alone:
            continue
        steps[rank] = coming
        answer = stops[rank](coming, is_sync_step)
        if answer is not None:
            stopped[rank] = coming
    assert len(stopped) == 3
    (at,) = set(stopped.values())
    assert is_sync_step(at)
    assert at >= begins


def test_the_end_of_the_time_is_a_good_end(tmp_path: Path) -> None:
    stop = CoordinatedStop(tmp_path, "a", 0, World(), pending=lambda: None, max_time=1e-9)
    assert isinstance(stop(1, lambda step: True), EarlyEnd)
    assert CoordinatedStop(tmp_path, "a", 0, World(), pending=lambda: None, max_time=1e9)(1, lambda step: True) is None


def test_a_stop_is_of_the_start_that_agreed_on_it(tmp_path: Path) -> None:
    """What a process of an earlier start still writes is not why the next one ends."""
    (tmp_path / "stop-0-late.at").write_text("5 15")
    assert agreed_stop(tmp_path, 1) is None
    stopped = agreed_stop(tmp_path, 0)
    assert stopped is not None
    assert stopped.number == 15


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("size", [1, 3])
def test_a_callback_ends_a_run_after_one_step_on_any_number_of_processes(tmp_path: Path, every: int, size: int) -> None:
    asked = False
    stops = [
        CoordinatedStop(
            tmp_path,
            "a",
            0,
            world(rank, size),
            pending=lambda: None,
            max_time=None,
            ends=lambda rank=rank: asked and rank == 0,
        )
        for rank in range(size)
    ]
    last = {}
    for step in range(1, 20):
        for rank, stop in enumerate(stops):
            answer = stop(step, lambda number: number % every == 0)
            if answer is not None:
                assert isinstance(answer, EarlyEnd)
                assert str(answer) == "a callback has set model.stop_training"
                last.setdefault(rank, step)
        asked = asked or step == 5  # the callback looks on after the stop is decided
    assert set(last.values()) == {7 if every == 1 else 8}
    assert len(last) == size
