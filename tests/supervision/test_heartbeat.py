"""Heartbeats, and what is concluded from them."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tfscale.runs.run_directory import RunDirectory
from tfscale.supervision import heartbeat
from tfscale.supervision import watchdog as watchdogs
from tfscale.supervision.attempt import Attempt, Outcome
from tfscale.supervision.heartbeat import MINUTES, REPLACED, Heartbeat
from tfscale.supervision.phase import WAITS_WITH_MINUTES, Phase
from tfscale.supervision.watchdog import Hang, Watchdog, innermost


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        monkeypatch.setattr("time.sleep", lambda seconds: None)


def watchdog(
    directory: RunDirectory,
    pids: Sequence[int],
    *,
    deadline_scale: float | None = 1.0,
    scaled_until: int = 0,
    after: int = 0,
    trains: Callable[[int], None] = lambda step: None,
) -> Watchdog:
    """Watches processes with these ids as one start of a job."""
    attempt = Attempt(
        processes=len(pids), deadline_scale=deadline_scale, scaled_until=scaled_until, after=after, trains=trains
    )
    return Watchdog(attempt, directory, pids)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_what_is_done_for_the_first_time_has_minutes_and_says_little_of_the_others(
    tmp_path: Path, clock: Clock
) -> None:
    """A first step that compiles for a minute; the next ones take a second, and one takes three."""
    record, limits = Heartbeat(tmp_path / "p", timeout=4.0), []
    for seconds in (60.0, 1.0, 1.0, 0.1, 3.0, 1.0):
        for phase in (Phase.STEP, Phase.LOGGING):
            record(phase, 7)
            read = heartbeat.read(tmp_path / "p")
            assert read is not None
            assert (read.phase, read.step, read.began) == (phase, 7, clock.now)
            limits.append(round(read.deadline - read.began, 3))
            clock.now += seconds if phase == Phase.STEP else 0.1
    assert limits[::2] == [MINUTES, 120.0, 10.0, 10.0, 10.0, 30.0]
    assert limits[1::2] == [MINUTES, 4.0, 4.0, 4.0, 4.0, 4.0]


def test_each_part_of_closing_has_minutes(tmp_path: Path, clock: Clock) -> None:
    """The end of training takes milliseconds, the export of a model and the plots seconds."""
    heart = Heartbeat(tmp_path / "p", timeout=4.0)
    for seconds in (0.001, 30.0, 30.0):
        heart(Phase.CLOSING, 7)
        read = heartbeat.read(tmp_path / "p")
        assert read is not None
        assert read.deadline - read.began == pytest.approx(MINUTES)
        clock.now += seconds


def test_half_a_beat_is_none(tmp_path: Path) -> None:
    assert heartbeat.read(tmp_path / "none") is None
    Heartbeat(tmp_path / "p", timeout=1.0)
    whole = (tmp_path / "p").read_bytes()
    (tmp_path / "p").write_bytes(whole[:-1] + b"x")
    assert heartbeat.read(tmp_path / "p") is None


@pytest.fixture
def job(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Hang | None]]:
    """Three ranks that beat as they are told to, then nothing for some seconds: what is wrong then."""
    directory = RunDirectory(tmp_path)
    ranks = [Heartbeat(directory.heartbeat(rank), timeout=4.0) for rank in range(3)]
    sleepers = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) for _ in ranks]
    watch = watchdog(directory, [process.pid for process in sleepers])

    def check(*phases: Phase, seconds: float, steps: tuple[int, ...] = (9, 9, 9)) -> Hang | None:
        for _ in range(WAITS_WITH_MINUTES):  # so that nothing is done for the first time
            for rank, (phase, step) in enumerate(zip(phases, steps, strict=True)):
                ranks[rank](phase, step)
                ranks[rank](Phase.SAVING, step)
                ranks[rank](phase, step)
        began = clock.now
        while clock.now < began + seconds - 0.3:  # as often as it is asked; else it takes the machine for paused
            clock.now += 0.25
            assert watch.check() is None
        clock.now = began + seconds
        return watch.check()  # the sleepers know nothing of the question for their stacks, and end of it

    yield check
    for process in sleepers:
        process.kill()
        process.wait()


def test_ranks_that_wait_for_a_slow_one_do_not_hang(job: Callable[..., Hang | None]) -> None:
    assert job(Phase.STEP, Phase.STEP, Phase.DATA, seconds=3.9) is None


def test_a_rank_that_keeps_all_others_waiting_is_named(job: Callable[..., Hang | None]) -> None:
    wrong = job(Phase.STEP, Phase.STEP, Phase.DATA, seconds=4.3)
    assert wrong is not None
    assert wrong.outcome is Outcome.HUNG
    assert wrong.message.startswith("rank 2 (process ")
    assert "hangs after step 9: waiting for data for 4.3 s, no Python stack" in wrong.message
    assert wrong.message.endswith("rank-*.stack. If it is only slow, set launch.hang_timeout to more seconds")


def test_among_ranks_that_exchange_the_one_with_fewest_steps_is_named(job: Callable[..., Hang | None]) -> None:
    wrong = job(Phase.STEP, Phase.STEP, Phase.STEP, seconds=4.3, steps=(9, 8, 9))
    assert wrong is not None
    assert wrong.message.count("rank ") == 1
    assert wrong.message.startswith("rank 1 ")


def test_after_a_pause_of_the_machine_everybody_has_time_again(tmp_path: Path, clock: Clock) -> None:
    directory = RunDirectory(tmp_path)
    rank = Heartbeat(directory.heartbeat(0), timeout=4.0)
    for phase in (Phase.STEP, Phase.SAVING, Phase.STEP):
        rank(phase, 1)
    watch = watchdog(directory, [os.getpid()])
    clock.now += 300
    assert watch.check() is None
    clock.now += 1
    assert watch.check() is None


def test_past_the_step_at_which_a_job_hung_works_have_no_more_time_than_before(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "kill", lambda pid, number: None)
    directory, waited = RunDirectory(tmp_path), list[float]()
    rank = Heartbeat(directory.heartbeat(0), timeout=4.0)
    watch = watchdog(directory, [os.getpid()], deadline_scale=2.0, scaled_until=7)
    for hung, step in ((Phase.STEP, 7), (Phase.DATA, 8)):
        for _ in range(WAITS_WITH_MINUTES):  # not for the first time
            for phase in (hung, Phase.SAVING, hung):
                rank(phase, step)
        began = clock.now
        while (hang := watch.check()) is None:
            clock.now += 0.25
        waited.append(clock.now - began)
        assert hang.message.startswith(f"rank 0 (process {os.getpid()}) hangs after step {step}: {hung.value} for ")
    assert waited == [8.25, 4.25]


def test_beats_of_another_host_count_from_when_they_are_seen(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock is far ahead, its process number is somebody else's here, and its file comes late."""
    directory = RunDirectory(tmp_path)
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append(pid))
    watch = watchdog(directory, [0])
    with monkeypatch.context() as there:
        there.setattr(heartbeat, "_machine", lambda: b"another host, 16")
        clock.now += 5000
        rank = Heartbeat(directory.heartbeat(0), timeout=4.0)
        for phase in (Phase.STEP, Phase.SAVING, Phase.STEP):
            rank(phase, 7)
        clock.now -= 5000
    for _ in range(24):  # first seen after 0.25 s; may come 2 s late, and take 4
        clock.now += 0.25
        assert watch.check() is None
    clock.now += 0.5
    wrong = watch.check()
    assert wrong is not None
    words = f"rank 0 (process {os.getpid()}) hangs after step 7: a step for 4.2 s, on another host"
    assert wrong.message.startswith(words), wrong.message
    assert killed == []


BEATING = """
import os, pathlib, sys, time
from tfscale.supervision.heartbeat import Heartbeat

write = os.fsync
os.fsync = lambda descriptor: (write(descriptor), print("written", os.fstat(descriptor).st_ino, flush=True))
Heartbeat(pathlib.Path("p"), timeout=4.0, shared=True)
time.sleep(60)
"""


def test_beats_are_written_through_and_a_process_that_was_replaced_ends(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", BEATING], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        own = (tmp_path / "p").stat().st_ino if process.stdout.readline() else 0
        assert process.stdout.readline() == f"written {own}\n"
        (tmp_path / "p").rename(tmp_path / "before")
        assert process.stdout.readline() == f"written {own}\n", "a file that is gone means nothing yet"
        Heartbeat(tmp_path / "p", timeout=4.0)
        assert process.wait(20) == REPLACED


def test_an_empty_beat_is_none(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(bytes(2 * heartbeat._RECORD.size))
    assert heartbeat.read(tmp_path / "p") is None


def test_a_job_that_ends_between_two_looks_has_trained(tmp_path: Path, clock: Clock) -> None:
    """Told once, and not of steps that the job began from."""
    directory, told = RunDirectory(tmp_path), list[int]()
    ranks = [Heartbeat(directory.heartbeat(rank), timeout=4.0) for rank in range(2)]
    watch = watchdog(directory, [11, 12], deadline_scale=None, after=20, trains=told.append)
    for rank in ranks:
        rank(Phase.DATA, 20)
    watch.read()
    assert told == []
    for steps in (21, 30):
        for rank in ranks:
            rank(Phase.STEP, steps)
        assert watch.check() is None, "it has looked just now"
        assert told == ([] if steps == 21 else [21])
        watch.read()
    assert told == [21]
    assert watch.step == 30


def test_without_beats_there_are_minutes(tmp_path: Path, clock: Clock) -> None:
    watch = watchdog(RunDirectory(tmp_path), [os.getpid()])
    assert watch.check() is None
    assert watch.step is None
    for _ in range(601):
        clock.now += 1
        hang = watch.check()
    assert hang == Hang("rank 0 has not begun to train in 600 s", Outcome.HUNG)


def test_a_stopped_process_is_found_whatever_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    monkeypatch.setattr(watchdogs, "_is_stopped", lambda pid: pid == 12)
    directory = RunDirectory(tmp_path)
    for rank in range(2):
        Heartbeat(directory.heartbeat(rank), timeout=4.0)
    watch = watchdog(directory, [11, 12])
    for _ in range(8):
        clock.now += 0.25
        assert watch.check() is None
    clock.now += 0.3
    words = "rank 1 (process 12) has been stopped (SIGSTOP) after step 0"
    assert watch.check() == Hang(words, Outcome.RETRYABLE)
    never = watchdog(directory, [11, 12], deadline_scale=None)
    for _ in range(20):
        clock.now += 0.5
        assert never.check() is None


def test_the_innermost_line_is_that_of_the_main_thread(tmp_path: Path) -> None:
    stack = tmp_path / "rank-0.stack"
    stack.write_text(
        'Thread 0x1 (most recent call first):\n  File "other.py", line 3 in run\n\n'
        'Current thread 0x2 (most recent call first):\n  File "<frozen abc>", line 1 in x\n'
        '  File "mine.py", line 7 in load\n  File "loop.py", line 9 in train\n'
    )
    assert innermost(stack) == 'in File "mine.py", line 7 in load'
    assert innermost(tmp_path / "none") == "no Python stack"


def test_a_phase_in_which_the_process_was_stopped_says_nothing_of_its_duration(tmp_path: Path, clock: Clock) -> None:
    """Else a pause of an hour would give every later step ten."""
    rank = Heartbeat(tmp_path / "p", timeout=4.0)
    for seconds in (1.0, 1.0, 3600.0, 0.0):
        rank(Phase.STEP, 7)
        clock.now += seconds
        if seconds > 1.0:
            rank.discard_duration()
    read = heartbeat.read(tmp_path / "p")
    assert read is not None
    assert read.deadline - read.began == 10.0


def test_the_first_waits_for_data_have_minutes(tmp_path: Path, clock: Clock) -> None:
    """Each was quick, and the tenth may still fill a buffer; from then on the longest counts."""
    rank, allowed = Heartbeat(tmp_path / "p", timeout=4.0), list[float]()
    for _ in range(WAITS_WITH_MINUTES + 2):
        rank(Phase.DATA, 7)
        read = heartbeat.read(tmp_path / "p")
        assert read is not None
        allowed.append(round(read.deadline - read.began, 3))
        clock.now += 0.5
        rank(Phase.STEP, 7)
    assert allowed == [MINUTES] * WAITS_WITH_MINUTES + [5.0, 5.0]


def test_waits_for_data_have_at_least_twice_the_time_of_the_first(tmp_path: Path, clock: Clock) -> None:
    """A source that reads 64 steps at once has a long wait, 63 short ones, and another long one."""
    rank = Heartbeat(tmp_path / "p", timeout=4.0)
    for number in range(64):
        rank(Phase.DATA, number)
        clock.now += 16.0 if number == 0 else 0.001
        rank(Phase.STEP, number)
        clock.now += 0.1
    rank(Phase.DATA, 64)
    read = heartbeat.read(tmp_path / "p")
    assert read is not None
    assert read.deadline - read.began == pytest.approx(32.0)


def test_a_batch_that_takes_45_s_is_taken_for_a_hang_once(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was killed after 4, 8, 16 and 32 s, at the same step each time, and the job was given up."""
    monkeypatch.setattr(os, "kill", lambda pid, number: None)
    killed: list[int] = []
    for start, scale in enumerate((1.0, 2.0)):
        directory = RunDirectory(tmp_path)
        rank = Heartbeat(directory.heartbeat(0), timeout=4.0)
        watch = watchdog(directory, [os.getpid()], deadline_scale=scale, scaled_until=0 if scale == 1.0 else 50)
        for step in range(20, 51):
            rank(Phase.DATA, step)
            rank(Phase.STEP, step)
        rank(Phase.DATA, 50)
        for _ in range(4 * 45):
            clock.now += 0.25
            if watch.check() is not None:
                killed.append(start)
                break
    assert killed == [0]
