"""Real processes that die, freeze, hang or are asked to stop: the run ends in the bits that it would have had."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tfscale.scripts.chaos.faults import outliving

from tests.support.forked_commands import forked
from tests.support.processes import command, digest, finish, launched, own_data, ranks_of, started, summary
from tfscale.checkpoint import folder as checkpoint_folder
from tfscale.checkpoint import format as checkpoint_format
from tfscale.launchers.local import LocalLauncher
from tfscale.launchers.spawn import Spawner, spawn_command
from tfscale.runs.events import read_events
from tfscale.runs.run_directory import RunDirectory
from tfscale.supervision.attempt import Attempt, LaunchResult, Outcome
from tfscale.supervision.supervisor import Policy, Supervisor

pytestmark = [pytest.mark.horovod, pytest.mark.usefixtures("nothing_is_left_behind")]
JOB = ("data=digits", "train.batch=16", "train.checkpoint_every=20", "model.dropout=0.2", "launch.np=3")
SHARING = (*JOB, "strategy=sharing", "optimizer=adam", "train.steps=400")
LOCAL = (*JOB, "strategy=local", "strategy.reproducible=true", "train.steps=400")


def resume(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """`tfscale resume`, to its end."""
    return forked().completed(["resume", *words], folder, os.environ)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The digests of runs that nothing happened to."""
    folder = tmp_path_factory.mktemp("straight")
    digests = {}
    for name, words in {"sharing": SHARING, "local": LOCAL}.items():
        launched(folder, name, *words)
        digests[name] = digest(folder, name)
    return digests


@pytest.mark.slow
def test_a_killed_rank_changes_nothing(tmp_path: Path, straight: dict[str, str]) -> None:
    with started(tmp_path, *SHARING, "run.name=one") as process:
        victim = ranks_of(tmp_path, "one")[2]
        victim.kill()
        errors = finish(process, 120)
    assert process.returncode == 0, errors
    (error,) = errors
    assert error.startswith(f"tfscale: rank 2 (process {victim.pid}) was killed by SIGKILL")
    assert "; starting again after step-0000" in error
    assert digest(tmp_path, "one") == straight["sharing"]
    events = read_events(tmp_path / "runs" / "one" / "events.jsonl")
    assert [event["event"] for event in events] == ["start", "training", "end", "start", "training", "end"]
    assert events[4]["seconds_lost"] > 0
    lines = (tmp_path / "runs" / "one" / "metrics.jsonl").read_text().splitlines()
    steps = [record["step"] for record in map(json.loads, lines) if record["kind"] == "step"]
    assert steps == sorted(set(steps)), "no step is recorded twice"


ALONE = ("data=digits", "strategy=local", "optimizer=adam", "model.dropout=0.2", "train.steps=500")


@pytest.mark.slow
def test_the_only_process_of_a_job_is_watched_too(tmp_path: Path) -> None:
    words = (*ALONE, "train.batch=16", "train.checkpoint_every=20")
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    straight.mkdir()
    killed.mkdir()
    launched(straight, "one", *words)
    with started(killed, *words, "run.name=one") as process:
        victim = ranks_of(killed, "one")[0]
        victim.kill()
        (error,) = finish(process, 120)
    assert process.returncode == 0, error
    assert error.startswith(f"tfscale: rank 0 (process {victim.pid}) was killed by SIGKILL")
    assert summary(killed, "one")["replicas"] == 2
    assert digest(killed, "one") == digest(straight, "one")
    done = resume(killed, "one", "train.steps=501", "launch.threads=2", "run.strict=true")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "tfscale: run.strict=true, but the run may not end in the bits it would have had: intra_op_threads 1, now 2; "
        "resume where it was started, or with run.strict=false"
    )


@pytest.mark.slow
def test_one_process_that_nobody_is_to_watch_trains_where_it_was_started(tmp_path: Path) -> None:
    words = (*ALONE[:-1], "launch.max_restarts=0", "launch.hang_timeout=null", "train.steps=3")
    launched(tmp_path, "one", *words)
    assert not (tmp_path / "runs" / "one" / "events.jsonl").exists()


@pytest.mark.slow
def test_a_frozen_rank_is_found(tmp_path: Path, straight: dict[str, str]) -> None:
    with started(tmp_path, *SHARING, "run.name=one") as process:
        victim = ranks_of(tmp_path, "one")[1]
        victim.send_signal(signal.SIGSTOP)
        errors = finish(process, 120)
    assert process.returncode == 0, errors
    assert f"rank 1 (process {victim.pid}) has been stopped (SIGSTOP) after step" in errors[0]
    assert digest(tmp_path, "one") == straight["sharing"]


ENDLESS = """
import os
import tensorflow as tf
from tfscale.collectives.shared_memory import SharedMemory
from tfscale.data import pipeline
from tfscale.data.arrays import source_of
from tfscale.data.sources import digits

START = os.environ.get("TFSCALE_RESTART", "0")

class Endless(pipeline.IndexedData):
    def train(self, shard, *, start, **settings):
        for number, batch in enumerate(super().train(shard, start=start, **settings), start=start):
            while shard.rank == 1 and number == 130 and START == "0":
                pass
            if shard.rank == 1 and number == 150 and START == "1":
                os.read(os.pipe()[0], 1)
            yield batch

def endless():
    steps, gather = tf.Variable(0), SharedMemory.gather
    def skipping(self, messages):
        skips = tf.equal(steps.assign_add(1), 30) & (START == "2") & (self._process == 1)
        return tf.cond(skips, lambda: 3 * [tf.identity(messages[0])], lambda: gather(self, messages))
    SharedMemory.gather = skipping
    return Endless(source_of(digits.digits(test_fraction=0.2)))
"""


@pytest.mark.slow
def test_a_rank_that_loops_reads_for_ever_or_skips_an_exchange_is_found(
    tmp_path: Path, straight: dict[str, str]
) -> None:
    """One after the other, in one run, which ends in the bits of one that nothing happened to."""
    words = (*own_data(tmp_path, "endless", ENDLESS, "endless"), *SHARING[1:], "run.name=one")
    done = subprocess.run(command(*words), cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    loop, read, skipped = done.stderr.splitlines()
    for error, step, line in ((loop, 130, "1[45]"), (read, 150, "17")):
        assert "tfscale: rank 1 (process " in error
        assert re.search(rf"hangs after step {step}: waiting for data for \d+\.\d s, in File ", error), error
        assert re.search(rf'endless\.py", line {line} in train', error), error
    assert re.search(r"rank \d failed: the message of rank \d .*it is of another step", skipped), skipped
    assert digest(tmp_path, "one") == straight["sharing"]


DIES_WHILE_SAVING = """
import os
import threading
import time
from pathlib import Path
from tfscale.data.sources import digits
from tfscale.checkpoint import durable_io, store

FIRST, RANK = os.environ["TFSCALE_RESTART"] == "0", os.environ["HOROVOD_RANK"]
write, wait = durable_io.write, store.wait_for_chief

def slow(folder, files):
    while FIRST and RANK == "0" and "step-000000040" in str(folder):
        Path("copied-0").touch()
        time.sleep(0.1)
    return write(folder, files)

def waiting(place):
    if "step-000000040" in str(place):
        Path("waits-" + RANK).touch()
    wait(place)

def dies():
    while len(list(Path(".").glob("runs/one/checkpoints/step-000000040.tmp-*/part-*.json"))) < 2 or not all(
        Path(name).exists() for name in WHEN
    ):
        time.sleep(0.05)
    os.kill(os.getpid(), 9)

def data():
    durable_io.write, store.wait_for_chief = slow, waiting
    if FIRST and RANK == "2":
        threading.Thread(target=dies, daemon=True).start()
    return digits.digits(test_fraction=0.2)
"""


def while_saving(folder: Path, when: tuple[str, ...], *words: str) -> str:
    """Trains in `folder`, whose chief never writes step 40 at its first start, and whose rank 2 then dies."""
    dies = own_data(folder, "dies", DIES_WHILE_SAVING.replace("WHEN", repr(when)), "data")
    words = (*dies, *SHARING[1:], *words, "run.name=one")
    done = subprocess.run(command(*words), cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "was killed by SIGKILL" in done.stderr
    return done.stderr


@pytest.mark.slow
def test_what_was_to_be_saved_when_a_rank_died_is_not_repeated(tmp_path: Path, straight: dict[str, str]) -> None:
    """The next save is due, too: nobody copies anything until the chief has sealed the one before."""
    when = "copied-0", "waits-1", "waits-2"
    assert "starting again after step-000000040" in while_saving(tmp_path, when)
    assert digest(tmp_path, "one") == straight["sharing"]


@pytest.mark.slow
def test_a_run_that_has_had_enough_ends_there_whenever_a_rank_dies(tmp_path: Path) -> None:
    """Where it ends is in its last checkpoint; what goes on with a run that has ended trains on."""
    enough = ("early_stopping.target=0", "train.evaluate_every=40", "data.validation=0.1")
    launched(tmp_path, "straight", *SHARING, *enough)
    assert "starting again after step-000000040" in while_saving(tmp_path, ("copied-0",), *enough)
    first, second = (summary(tmp_path, name) for name in ("straight", "one"))
    assert first["steps"] == second["steps"] == 40
    assert first["ended_early"] == second["ended_early"]
    assert digest(tmp_path, "one") == digest(tmp_path, "straight")
    assert resume(tmp_path, "straight", "early_stopping.target=null", "train.steps=60").returncode == 0
    assert summary(tmp_path, "straight")["steps"] == 60


DIES = """
import os
from tfscale.data.sources import digits

def data():
    if os.environ["TFSCALE_RESTART"] == "0" and os.environ["HOROVOD_RANK"] == "1":
        os.kill(os.getpid(), 9)
    return digits.digits(test_fraction=0.2)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
def test_a_job_whose_output_is_on_a_full_disk_goes_on(tmp_path: Path) -> None:
    words = (*own_data(tmp_path, "dies", DIES, "data"), *SHARING[1:], "train.steps=20", "run.name=one")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command(*words), cwd=tmp_path, stdout=full, stderr=full, env=environment, timeout=120, check=False
        )
    assert done.returncode == 0
    assert summary(tmp_path, "one")["steps"] == 20
    events = read_events(tmp_path / "runs" / "one" / "events.jsonl")
    assert [event["event"] for event in events] == ["start", "end", "start", "training", "end"]


def test_starts_that_fail_wait_longer_and_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)

    class Fails:
        def run(self, attempt: Attempt) -> LaunchResult:
            return LaunchResult(outcome=Outcome.RETRYABLE, code=1, cause="it dies")

    policy = Policy(max_restarts=1100, min_np=1, watches=True)
    assert Supervisor(Fails(), directory=RunDirectory(tmp_path), policy=policy).run(1) == 1
    assert pauses == [0.0, 0.5, 1.0, 2.0] + 1096 * [4.0]


def test_starts_that_fail_are_given_up_with_fewer_processes_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    starts: list[int] = []

    def spawner(attempt: Attempt) -> Spawner:
        starts.append(attempt.restarts)
        return spawn_command([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])

    directory = RunDirectory(tmp_path)
    policy = Policy(max_restarts=3, min_np=2, watches=True)

    launcher = LocalLauncher(spawner, directory=directory, start_timeout=5, interface=None)
    supervisor = Supervisor(launcher, directory=directory, policy=policy)
    assert supervisor.run(3) == 1
    assert starts == [0, 1, 2, 3]
    events = read_events(directory.events)
    assert [len(event["processes"]) for event in events if event["event"] == "start"] == [3, 3, 3, 2]
    *restarted, last = capsys.readouterr().err.splitlines()
    assert len(restarted) == 3
    assert restarted[2].endswith("starting again from the beginning, 2 process(es)")
    assert last.endswith("(started again 3 time(s); launch.max_restarts=3)")


def test_a_job_that_hangs_has_twice_the_time_until_it_is_past_the_last_step_at_which_it_hung(tmp_path: Path) -> None:
    hung = [LaunchResult(outcome=Outcome.HUNG, code=1, cause="hangs", step=step) for step in (30, 25)]
    died = LaunchResult(outcome=Outcome.RETRYABLE, code=1, cause="dies", step=28)
    results = [*hung, died, LaunchResult(outcome=Outcome.DONE, code=0)]
    attempts: list[Attempt] = []

    class Scripted:
        def run(self, attempt: Attempt) -> LaunchResult:
            attempts.append(attempt)
            return results[len(attempts) - 1]

    policy = Policy(max_restarts=3, min_np=2, watches=True)
    assert Supervisor(Scripted(), directory=RunDirectory(tmp_path), policy=policy).run(2) == 0
    asked = [(attempt.deadline_scale, attempt.scaled_until) for attempt in attempts]
    assert asked == [(1.0, 0), (2.0, 30), (4.0, 30), (4.0, 30)]


def test_a_rank_that_keeps_dying_ends_the_job_after_the_restarts_that_it_may_have(tmp_path: Path) -> None:
    with started(tmp_path, *SHARING, "run.name=one", "launch.max_restarts=0") as process:
        ranks_of(tmp_path, "one")[1].kill()
        errors = finish(process, 30)
    assert process.returncode == 1
    (error,) = errors
    assert "was killed by SIGKILL. Its log: runs/one/logs/rank-1.log" in error
    assert "starting again" not in error


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_all_ranks_stop_at_one_step_and_what_goes_on_changes_nothing(
    tmp_path: Path, straight: dict[str, str], number: signal.Signals, code: int
) -> None:
    with started(tmp_path, *LOCAL, "run.name=one") as process:
        process.send_signal(number)
        process.send_signal(number)
        errors = finish(process, 15)
    assert process.returncode == code
    assert errors == [f"tfscale: stopped by {number.name}; go on after its last checkpoint with: tfscale resume one"]
    (event,) = (each for each in read_events(tmp_path / "runs" / "one" / "events.jsonl") if each["event"] == "end")
    assert event["code"] == code
    newest = checkpoint_folder.complete(tmp_path / "runs" / "one" / "checkpoints")[0]
    assert checkpoint_format.verify(newest).replicas == 3
    assert resume(tmp_path).returncode == 0
    assert digest(tmp_path, "one") == straight["local"]


@pytest.mark.slow
def test_a_supervisor_that_is_killed_takes_its_processes_along(tmp_path: Path) -> None:
    with started(tmp_path, *SHARING, "run.name=one", "train.steps=4000") as process:
        second = resume(tmp_path, "one")
        assert second.returncode == 2
        assert "run one in runs is being trained" in second.stderr
        time.sleep(6)  # longer than a hang is waited for: the run has its heartbeats still
        events = read_events(tmp_path / "runs" / "one" / "events.jsonl")
        assert [event["event"] for event in events] == ["start", "training"]
        ranks = ranks_of(tmp_path, "one")
        process.kill()
        process.communicate(timeout=10)
        assert len(ranks) == 3
        assert not outliving(ranks, 2)
    done = resume(tmp_path, "launch.np=2", "train.max_time=1")
    assert done.returncode == 0, done.stderr
    assert summary(tmp_path, "one")["processes"] == 2
    assert summary(tmp_path, "one")["steps"] < 4000
