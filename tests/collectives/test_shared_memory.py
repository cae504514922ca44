"""Shared memory: it grows, keeps exchanges apart, and a process that waits notices when another ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import launch
from tfscale.collectives import shared_memory
from tfscale.collectives.shared_memory import can_be_shared

GROWING = """
import json, os
import numpy as np, tensorflow as tf
from tfscale.collectives.horovod import Horovod
collective = Horovod(replicas=2, processes=2, shared_memory=True)
rank = collective.ranks[0]

@tf.function(input_signature=[tf.TensorSpec([], tf.int32)])
def exchange(length):
    gathered = collective.regular_gather()([tf.fill([length * (1 + rank)], length + rank)])
    mean = collective.mean([tf.fill([length], tf.cast(length + rank, tf.float32))])
    return [tf.size(each) for each in gathered], [tf.reduce_sum(each) for each in gathered], tf.unique(mean)[0]

out = [[np.array(each).tolist() for each in exchange(tf.constant(length))] for length in (1, 100000, 7, 3000000, 2)]
links = [os.readlink("/proc/self/fd/" + name) for name in os.listdir("/proc/self/fd") if name.isdigit()
         and os.path.exists("/proc/self/fd/" + name)]
json.dump([out, sum("memfd:tfscale " in link for link in links)], open("FOLDER/out-%d.json" % rank, "w"))
"""


@pytest.mark.horovod
def test_memory_grows_with_what_is_exchanged(tmp_path: Path) -> None:
    code = GROWING.replace("FOLDER", str(tmp_path))
    assert launch(code, tmp_path, 2) == 0, (tmp_path / "logs" / "rank-1.log").read_text()
    for rank in range(2):
        rows, memories = json.loads((tmp_path / f"out-{rank}.json").read_text())
        for length, (sizes, sums, mean) in zip((1, 100000, 7, 3000000, 2), rows, strict=True):
            wrapped = [(n + 2**31) % 2**32 - 2**31 for n in (length * length, 2 * length * (length + 1))]
            assert (sizes, sums, mean) == ([length, 2 * length], wrapped, [length + 0.5])
        assert memories >= 3 * 2, "this process's segments and the other's: the exchange went through memory"


REFUSED = """
from tfscale.collectives import horovod
from tfscale.errors import UserError
horovod.can_be_shared = lambda all_gather: False
assert horovod.Horovod(replicas=2, processes=2).transport == "by Horovod"
try:
    horovod.Horovod(replicas=2, processes=2, shared_memory=True)
except UserError as error:
    open("FOLDER/said", "w").write(str(error))
"""


RACING = """
import numpy as np, tensorflow as tf
from tfscale.collectives.horovod import Horovod
collective = Horovod(replicas=2, processes=2, shared_memory=True)
mean = tf.function(lambda given: collective.mean([given]), input_signature=[tf.TensorSpec([None], tf.float32)])
for turn in range(400):
    length = (1000, 700000)[turn % 2]
    got = mean(tf.fill([length], float(turn + collective.ranks[0]))).numpy()
    assert got.shape == (length,) and np.all(got == turn + 0.5), (turn, got)
"""


@pytest.mark.horovod
def test_means_of_changing_lengths_do_not_meet_in_memory(tmp_path: Path) -> None:
    assert launch(RACING, tmp_path, 2) == 0, (tmp_path / "logs" / "rank-1.log").read_text()


@pytest.mark.horovod
def test_memory_that_cannot_be_shared_is_refused_if_it_is_demanded(tmp_path: Path) -> None:
    assert launch(REFUSED.replace("FOLDER", str(tmp_path)), tmp_path, 2) == 0
    assert (tmp_path / "said").read_text() == (
        "strategy.collective.shared_memory=true, but the processes cannot see each other's memory: they must run on "
        "one Linux host, with the native kernels (python -m tfscale.scripts.build.kernels); set "
        "strategy.collective.shared_memory=auto"
    )


@pytest.mark.slow
def test_a_process_that_is_gone_is_named(tmp_path: Path) -> None:
    """Two processes that find each other through files: no launcher that would end the one that waits."""
    code = f"""
import os, sys, time
import tensorflow as tf
from pathlib import Path
from tfscale.collectives.horovod import is_collective_failure
from tfscale.collectives.shared_memory import SharedMemory
own, rounds = int(sys.argv[1]), iter(range(9))
def all_gather(numbers):
    turn = next(rounds)
    temporary = Path({str(tmp_path)!r}, f"{{own}}.tmp")
    temporary.write_text(" ".join(map(str, numbers)))
    temporary.rename(Path({str(tmp_path)!r}, f"{{turn}}-{{own}}"))
    places = [Path({str(tmp_path)!r}, f"{{turn}}-{{each}}") for each in range(2)]
    while not all(place.exists() for place in places):
        time.sleep(0.01)
    return [[int(word) for word in place.read_text().split()] for place in places]
memory = SharedMemory(process=own, replicas=[1, 1], all_gather=all_gather)
mean = tf.function(lambda: memory.mean(tf.constant([2.0 * own])))
assert mean().numpy().tolist() == [1.0]
if own == 1:
    os._exit(7)
try:
    mean()
except tf.errors.FailedPreconditionError as error:
    assert is_collective_failure(error)
    print(error.message.splitlines()[0])
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(own)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for own in range(2)
    ]
    try:
        assert processes[1].wait(timeout=120) == 7, processes[1].communicate()
        out, errors = processes[0].communicate(timeout=60)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert f"tfscale: another process of the job ({processes[1].pid}) is gone" in out, errors


def test_memory_that_one_process_cannot_open_is_shared_by_none(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[list[int]] = []

    def all_gather(numbers):
        said.append(list(numbers))
        other = [os.getpid(), 1 << 30, 5] if len(said) == 1 else [1]
        return [other, list(numbers)]

    before = len(os.listdir("/proc/self/fd"))
    assert not can_be_shared(all_gather)
    assert said[1] == [0], "the other's descriptor is not there"
    assert len(os.listdir("/proc/self/fd")) == before
    monkeypatch.setattr(shared_memory.library, "load", lambda: None)
    assert not can_be_shared(lambda numbers: [list(numbers)]), "the kernels are not built"


def test_memory_is_the_one_that_was_meant() -> None:
    """A process number of another container may be one of this one, too."""
    assert can_be_shared(lambda numbers: [list(numbers)])
    assert not can_be_shared(lambda numbers: [[*numbers[:2], numbers[2] ^ 1]] if len(numbers) == 3 else [list(numbers)])
