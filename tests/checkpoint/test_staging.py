"""Memory that a parent still has when a process is gone."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from tfscale.checkpoint import durable_io
from tfscale.checkpoint import staging as memory
from tfscale.checkpoint.staging import StagedCheckpoint, StagingBuffer

COPY = StagedCheckpoint(
    step=7, shared_digests={"replica-0000.safetensors": -3}, identity={"cpu": "x"}, parent="step-000000003"
)


@pytest.fixture
def descriptor() -> Iterator[int]:
    made = memory.create()
    assert made is not None
    yield made
    os.close(made)


def filled(own: StagingBuffer, *sizes: int) -> dict[str, np.ndarray]:
    files = {f"file {size}": own.allocate(size) for size in sizes}
    for size, content in zip(sizes, files.values(), strict=True):
        content[:] = size % 251
    return files


def test_what_was_told_is_read(descriptor: int) -> None:
    own = StagingBuffer(descriptor)
    assert memory.read(descriptor) is None
    files = filled(own, 5, durable_io.BLOCK, 3 * durable_io.BLOCK + 1)
    assert memory.read(descriptor) is None
    own.commit(COPY, files)
    told = memory.read(descriptor)
    assert told is not None
    assert told[0] == COPY
    assert {name: content.tobytes() for name, content in told[1].items()} == {
        name: content.tobytes() for name, content in files.items()
    }
    assert all(content.ctypes.data % durable_io.BLOCK == 0 for content in (*files.values(), *told[1].values()))


def test_while_it_is_filled_anew_there_is_nothing(descriptor: int) -> None:
    own = StagingBuffer(descriptor)
    files = filled(own, 5)
    own.commit(COPY, files)
    own.invalidate()
    assert memory.read(descriptor) is None


def test_a_word_may_be_long(descriptor: int) -> None:
    own = StagingBuffer(descriptor)
    files = filled(own, *range(1, 400))
    own.commit(COPY, files)
    told = memory.read(descriptor)
    assert told is not None
    assert told[1].keys() == files.keys()


def test_memory_that_nobody_was_given_is_empty(descriptor: int) -> None:
    assert memory.read(descriptor) is None


def test_where_it_cannot_grow_there_is_other_memory_and_nothing_is_told(descriptor: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    own = StagingBuffer(descriptor)
    few = filled(own, 5)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        many = filled(own, 1 << 17)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    own.commit(COPY, {**few, **many})
    assert memory.read(descriptor) is None


SAYS = "from tfscale.checkpoint import staging; print(staging.inherit(), staging.inherit())"


def test_a_process_has_what_it_was_handed_and_no_other_has_it(descriptor: int) -> None:
    environment = {**os.environ, memory.VARIABLE: str(descriptor)}
    said = [
        subprocess.run(
            [sys.executable, "-c", SAYS], env=environment, pass_fds=kept, capture_output=True, text=True, check=True
        ).stdout.strip()
        for kept in ((descriptor,), ())
    ]
    assert said == [f"{descriptor} None", "None None"]


def test_a_process_that_was_handed_nothing_has_memory_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(memory.VARIABLE, raising=False)
    assert memory.inherit() is None
    own = StagingBuffer()
    files = filled(own, 5)
    own.invalidate()
    own.commit(COPY, files)
    assert files["file 5"].tolist() == 5 * [5]
