"""Real Horovod processes: every strategy, one run directory, and every bad end in seconds with nothing left behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest

from tests.support.datasets import write_idx
from tests.support.marks import quick
from tests.support.processes import command, digest, finish, finished, launched, own_data, started, summary
from tfscale.checkpoint.slices import join
from tfscale.runs.events import read_events

pytestmark = [pytest.mark.horovod, pytest.mark.usefixtures("nothing_is_left_behind")]
BIN = Path(sys.executable).parent
SMALL = ("data=digits", "train.batch=24", "train.epochs=3")

LISTEN = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int listen(int file, int backlog) {
  struct sockaddr_storage own = {0};
  socklen_t size = sizeof own;
  getsockname(file, (struct sockaddr*)&own, &size);
  if (own.ss_family == AF_INET || own.ss_family == AF_INET6) {
    char address[INET6_ADDRSTRLEN];
    const void* bytes = own.ss_family == AF_INET ? (void*)&((struct sockaddr_in*)&own)->sin_addr
                                                 : (void*)&((struct sockaddr_in6*)&own)->sin6_addr;
    FILE* heard = fopen(getenv("TFSCALE_HEARD"), "a");
    fprintf(heard, "%d %s\n", getpid(), inet_ntop(own.ss_family, bytes, address, sizeof address));
    fclose(heard);
  }
  return ((__typeof__(&listen))dlsym(RTLD_NEXT, "listen"))(file, backlog);
}
"""
"""Loaded before all other libraries, it writes down every process that listens to the network, and at which address."""


@pytest.mark.parametrize("processes", [3])
@pytest.mark.parametrize(
    "strategy",
    [
        "horovod",
        "sharing",
        pytest.param("local", marks=pytest.mark.slow),
        pytest.param("horovod_averaging", marks=pytest.mark.slow),
    ],
)
def test_every_strategy_trains_between_processes(tmp_path: Path, strategy: str, processes: int) -> None:
    result = launched(tmp_path, "one", f"strategy={strategy}", f"launch.np={processes}", "train.batch=16")
    assert (result["processes"], result["replicas"]) == (processes, processes)
    assert result["accuracy"] >= 0.95
    logs = [(tmp_path / "runs" / "one" / "logs" / f"rank-{rank}.log").read_text() for rank in range(processes)]
    ended = f"ended well; parameters {result['parameters_sha256']}"
    assert all(f"rank {rank} {ended}" in log for rank, log in enumerate(logs)), "all ranks end with the same bits"


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["horovod", "horovod_averaging", "sharing"])
def test_processes_compute_what_one_process_does(tmp_path: Path, strategy: str) -> None:
    """Two replicas sum in one order only, so even the averaging strategies give the same bits."""
    words = (*SMALL, f"strategy={strategy}")
    inside = launched(tmp_path, "inside", *words, "strategy/collective=in_process", "strategy.replicas=2")
    between = launched(tmp_path, "between", *words, "launch.np=2")
    assert inside["parameters_sha256"] == between["parameters_sha256"]
    assert inside["bytes_sent"] == between["bytes_sent"]


SHARED = {
    "gradients": ("strategy.shares=gradients",),
    "updates": ("strategy.shares=updates",),
    "rounds": ("strategy.every=3", "strategy.levels=3", "strategy/outer=nesterov", "strategy.residual_decay=0.95"),
}


@pytest.mark.parametrize("name", quick(SHARED, only=["rounds"]))
def test_sharing_does_not_depend_on_how_many_processes_hold_the_replicas(tmp_path: Path, name: str) -> None:
    words = (
        *SMALL,
        "strategy=sharing",
        *SHARED[name],
        "strategy.replicas=4",
        "strategy.warmup=0",
        "strategy.threshold.initial=0.001",
        "model.dropout=0.2",
    )
    one = launched(tmp_path, "one", *words, "strategy/collective=in_process")
    three = launched(tmp_path, "three", *words, "launch.np=3")
    assert one["parameters_sha256"] == three["parameters_sha256"]
    assert digest(tmp_path, "one") == digest(tmp_path, "three")


@pytest.mark.slow
@pytest.mark.parametrize(
    "strategy", [("horovod",), ("horovod_averaging",), ("horovod_averaging", "strategy.payload=int8")], ids=" ".join
)
def test_reproducible_averaging_does_not_depend_on_the_number_of_processes(
    tmp_path: Path, strategy: Sequence[str]
) -> None:
    name, *more = strategy
    words = (*SMALL, "model=cnn", f"strategy={name}", *more, "strategy.reproducible=true", "strategy.replicas=3")
    words = (*words, "model.dropout=0.2", "train.steps=15")
    results = [launched(tmp_path, f"on-{np}", *words, f"launch.np={np}") for np in (1, 3)]
    assert len({each["parameters_sha256"] for each in results}) == 1
    assert digest(tmp_path, "on-1") == digest(tmp_path, "on-3")


GROUPS = {
    "rounds": ("strategy.every=3", "strategy.threshold.density=0.01"),
    "divided": ("strategy.reduce=scatter", "strategy.delay=1", "strategy.collective.shared_memory=false"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", GROUPS)
def test_groups_do_not_depend_on_the_number_of_processes(tmp_path: Path, name: str) -> None:
    """With batch normalization, so that statistics differ within a group, too."""
    words = (*SMALL, "model=cnn", "strategy=sharing", *GROUPS[name], "strategy.replicas=8", "strategy.group=2")
    words = (*words, "train.steps=15")
    results = [launched(tmp_path, f"on-{np}", *words, f"launch.np={np}") for np in (1, 2, 4)]
    assert len({each["parameters_sha256"] for each in results}) == 1
    assert len({digest(tmp_path, f"on-{np}") for np in (1, 2, 4)}) == 1


def test_horovod_gives_the_parameters_of_one_replica_with_the_whole_batch(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import load_file

    words = ("train.steps=40", "optimizer=sgd")
    launched(tmp_path, "one", *words, "strategy=local", "strategy.replicas=1", "train.batch=32")
    launched(tmp_path, "two", *words, "strategy=horovod", "launch.np=2", "train.batch=16")
    places = [tmp_path / "runs" / name / "checkpoints" / "step-000000040" for name in ("one", "two")]
    shared = [join([load_file(part) for part in sorted(place.glob("shared-*"))]) for place in places]
    one, two = shared[0] | load_file(places[0] / "model.safetensors"), shared[1]
    weights = [name for name in one if name.endswith(("kernel", "bias"))]
    assert len(weights) == 6
    for name in weights:
        # Means of means round differently: 1.2e-7 a step, forty times.
        np.testing.assert_allclose(two[name], one[name], atol=5e-6)


@pytest.mark.slow
def test_horovodrun_starts_the_same_job(tmp_path: Path) -> None:
    own = launched(tmp_path, "own", *SMALL, "strategy=sharing", "launch.np=2")
    horovodrun = [str(BIN / "horovodrun"), "-np", "2", str(BIN / "tfscale"), "train"]
    finished(tmp_path, [*horovodrun, *SMALL, "strategy=sharing", "run.name=raw"])
    assert summary(tmp_path, "raw")["parameters_sha256"] == own["parameters_sha256"]
    assert (tmp_path / "runs" / "raw" / "logs" / "rank-1.log").is_file()


@pytest.mark.slow
def test_eight_processes_make_one_run_directory(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            str(BIN / "horovodrun"),
            "-np",
            "8",
            str(BIN / "tfscale"),
            "train",
            "strategy=horovod",
            "train.steps=3",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert len(list((run / "logs").glob("rank-*.log"))) == 8
    assert json.loads((run / "summary.json").read_text())["processes"] == 8


def test_a_job_listens_on_loopback_only(tmp_path: Path) -> None:
    """The parent, where processes find each other, and those, whose sockets, Horovod's own, live for milliseconds."""
    source, library, heard = (tmp_path / name for name in ("listen.c", "listen.so", "heard"))
    source.write_text(LISTEN)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    words = (*SMALL, "strategy=horovod", "strategy.collective.shared_memory=false", "train.steps=15")
    job = subprocess.run(
        command(*words, "launch.np=3", "run.name=one"),
        cwd=tmp_path,
        env={**os.environ, "LD_PRELOAD": str(library), "TFSCALE_HEARD": str(heard)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert job.returncode == 0, job.stderr
    ranks = read_events(tmp_path / "runs" / "one" / "events.jsonl")[0]["processes"]
    listeners = [line.split() for line in heard.read_text().splitlines()]
    callers = {int(caller) for caller, _ in listeners}
    assert callers > set(ranks), "all ranks, and the parent"
    assert all(ip_address(address).is_loopback for _, address in listeners), listeners


@pytest.mark.slow
def test_hosts_are_reached_through_horovodrun(tmp_path: Path) -> None:
    """Localhost is the one host that needs no ssh."""
    hosts = ("launch.np=2", "launch.hosts=[localhost:2]", "launch.network_interface=lo")
    result = launched(tmp_path, "one", *SMALL, "strategy=sharing", *hosts)
    assert result["processes"] == 2


def rank_of_start(folder: Path, job: subprocess.Popen, restarts: int, *, rank: int) -> psutil.Process:
    """What horovodrun has started as this rank, once the job trains after so many restarts."""
    deadline = time.monotonic() + 120
    while _trainings(folder) <= restarts:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    found = [
        each
        for each in psutil.Process(job.pid).children(recursive=True)
        if each.environ().get("HOROVOD_RANK") == str(rank) and "tfscale" in " ".join(each.cmdline()[:4])
    ]
    return found[-1]


def _trainings(folder: Path) -> int:
    events = read_events(folder / "runs" / "one" / "events.jsonl")
    return [event["event"] for event in events].count("training")


STUCK = """
import os
from tfscale.data import pipeline
from tfscale.data.arrays import source_of
from tfscale.data.sources import digits

class Stuck(pipeline.IndexedData):
    def train(self, shard, *, start, **settings):
        for number, batch in enumerate(super().train(shard, start=start, **settings), start=start):
            if shard.rank == 1 and number == 130 and os.environ["TFSCALE_RESTART"] == "0":
                os.read(os.pipe()[0], 1)
            yield batch

def stuck():
    return Stuck(source_of(digits.digits(test_fraction=0.2)))
"""


@pytest.mark.slow
def test_a_job_on_hosts_goes_on_after_it_hung_and_a_process_was_killed_and_one_frozen(tmp_path: Path) -> None:
    words = (*own_data(tmp_path, "stuck", STUCK, "stuck"), "train.steps=1500", "train.checkpoint_every=100")
    hosts = ("launch.np=2", "launch.hosts=[localhost:2]", "launch.network_interface=lo", "run.name=one")
    with started(tmp_path, *words, "strategy=sharing", *hosts) as job:
        rank_of_start(tmp_path, job, 1, rank=1).kill()
        victim = rank_of_start(tmp_path, job, 2, rank=0)
        victim.send_signal(signal.SIGSTOP)
        errors = finish(job, 200)
    assert job.returncode == 0, errors
    hung, killed, frozen = [
        line for line in errors if line.startswith("tfscale: ") and "; starting again after" in line
    ]
    assert re.search(r"rank 1 \(process \d+\) hangs after step 130: waiting for data for \d+\.\d s, in File ", hung)
    assert 'stuck.py", line 11 in train' in hung
    assert "horovodrun ended with exit code" in killed or "rank 0 failed" in killed, killed
    assert f"rank 0 (process {victim.pid}) has been stopped (SIGSTOP) after step" in frozen
    events = [each["event"] for each in read_events(tmp_path / "runs" / "one" / "events.jsonl")]
    assert events == 4 * ["start", "training", "end"]
    assert summary(tmp_path, "one")["steps"] == 1500


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_end(tmp_path: Path) -> None:
    words = ("strategy=sharing", "launch.np=2", "model.dropout=0.2")
    straight = launched(tmp_path, "straight", *words, "train.steps=60")
    launched(tmp_path, "halves", *words, "train.steps=30")
    done = subprocess.run(
        command("resume=true", "run.name=halves", "train.steps=60"), cwd=tmp_path, check=False, timeout=180
    )
    assert done.returncode == 0
    assert summary(tmp_path, "halves")["parameters_sha256"] == straight["parameters_sha256"]
    assert summary(tmp_path, "halves")["bytes_sent"] == straight["bytes_sent"]


BROKEN = """
import os
import numpy as np
from tfscale.data.base import Arrays
from tfscale.data.arrays import source_of
from tfscale.data.pipeline import IndexedData

class Broken(IndexedData):
    def __init__(self):
        x = np.random.default_rng(0).standard_normal((256, 4)).astype("float32")
        super().__init__(source_of(Arrays(x, np.arange(256) % 3, x, np.arange(256) % 3, 1.0, 3)))

    def train(self, shard, **settings):
        for number, batch in enumerate(super().train(shard, **settings)):
            if shard.rank == 1 and number == 6:
                raise RuntimeError("the disk of rank 1 is gone")
            yield batch
"""


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["own", "horovodrun"])
def test_a_rank_that_raises_is_the_one_error_shown(tmp_path: Path, launcher: str) -> None:
    words = [*own_data(tmp_path, "broken", BROKEN, "Broken"), "strategy=sharing", "run.name=one"]
    full = command(*words, "launch.np=3")
    if launcher == "horovodrun":
        full = [str(BIN / "horovodrun"), "-np", "3", str(BIN / "tfscale"), "train", *words]
    done = subprocess.run(full, cwd=tmp_path, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 1
    ours = [line for line in done.stderr.splitlines() if "tfscale: rank" in line]
    assert len(ours) == 1, done.stderr
    assert "the disk of rank 1 is gone" in ours[0]
    assert "Traceback" in (tmp_path / "runs" / "one" / "logs" / "rank-1.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["own", "horovodrun"])
def test_a_damaged_file_is_said_once(tmp_path: Path, launcher: str) -> None:
    folder = write_idx(tmp_path / "d", train=30, test=20, zipped=True)
    path = folder / "train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    words = ["data=mnist", "data.folder=d", "strategy=horovod"]
    full = command(*words, "launch.np=2")
    if launcher == "horovodrun":
        full = [str(BIN / "horovodrun"), "-np", "2", str(BIN / "tfscale"), "train", *words]
    done = subprocess.run(full, cwd=tmp_path, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == (2 if launcher == "own" else 1), "horovodrun has one code for all failures"
    (line,) = [line for line in done.stderr.splitlines() if "tfscale: " in line]
    assert "train-labels-idx1-ubyte.gz cannot be read" in line
    assert not list((tmp_path / "runs").iterdir())


def test_doctor_finds_this_installation_sound(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tfscale", "doctor"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAIL" not in done.stdout
    assert "two processes exchanged a mean and messages of unequal length" in done.stdout
