"""The staging buffer: memory that a parent still has when a process is gone."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from tfscale.checkpoint import durable_io, staging
from tfscale.checkpoint.staging import StagedCheckpoint, StagingBuffer

STAGED = StagedCheckpoint(
    step=7, shared_digests={"replica-0000.safetensors": -3}, identity={"cpu": "x"}, parent="step-000000003"
)


@pytest.fixture
def descriptor() -> Iterator[int]:
    created = staging.create()
    assert created is not None
    yield created
    os.close(created)


def filled(own: StagingBuffer, *sizes: int) -> dict[str, np.ndarray]:
    files = {f"file {size}": own.allocate(size) for size in sizes}
    for size, content in zip(sizes, files.values(), strict=True):
        content[:] = size % 251
    return files


def test_what_was_committed_is_read(descriptor: int) -> None:
    own = StagingBuffer(descriptor)
    assert staging.read(descriptor) is None
    files = filled(own, 5, durable_io.BLOCK, 3 * durable_io.BLOCK + 1)
    assert staging.read(descriptor) is None
    own.commit(STAGED, files)
    found = staging.read(descriptor)
    assert found is not None
    assert found[0] == STAGED
    assert {name: content.tobytes() for name, content in found[1].items()} == {
        name: content.tobytes() for name, content in files.items()
    }
    assert all(content.ctypes.data % durable_io.BLOCK == 0 for content in (*files.values(), *found[1].values()))


def test_an_invalidated_buffer_holds_nothing(descriptor: int) -> None:
    own = StagingBuffer(descriptor)
    files = filled(own, 5)
    own.commit(STAGED, files)
    own.invalidate()
    assert staging.read(descriptor) is None


def test_an_index_may_be_long(descriptor: int) -> None:
    own = StagingBuffer(descriptor)
    files = filled(own, *range(1, 400))
    own.commit(STAGED, files)
    found = staging.read(descriptor)
    assert found is not None
    assert found[1].keys() == files.keys()


def test_new_memory_holds_nothing(descriptor: int) -> None:
    assert staging.read(descriptor) is None


def test_a_buffer_that_cannot_grow_becomes_private_and_commits_nothing(descriptor: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    own = StagingBuffer(descriptor)
    few = filled(own, 5)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        many = filled(own, 1 << 17)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    own.commit(STAGED, {**few, **many})
    assert staging.read(descriptor) is None


PRINTS = "from tfscale.checkpoint import staging; print(staging.inherit(), staging.inherit())"


def test_only_the_process_that_was_passed_a_descriptor_inherits_it(descriptor: int) -> None:
    environment = {**os.environ, staging.VARIABLE: str(descriptor)}
    printed = [
        subprocess.run(
            [sys.executable, "-c", PRINTS], env=environment, pass_fds=passed, capture_output=True, text=True, check=True
        ).stdout.strip()
        for passed in ((descriptor,), ())
    ]
    assert printed == [f"{descriptor} None", "None None"]


def test_a_process_that_was_passed_nothing_has_private_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(staging.VARIABLE, raising=False)
    assert staging.inherit() is None
    own = StagingBuffer()
    files = filled(own, 5)
    own.invalidate()
    own.commit(STAGED, files)
    assert files["file 5"].tolist() == 5 * [5]
