"""A file is there as it was meant, or that it is not is told."""

import errno
import fcntl
import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pytest

from tfscale.checkpoint import durable_io, shards
from tfscale.checkpoint.durable_io import BLOCK

SIZES = (
    0,
    1,
    BLOCK - 1,
    BLOCK,
    BLOCK + 1,
    100_003,
    durable_io._CHUNK - 1,
    durable_io._CHUNK,
    3 * durable_io._CHUNK + 7,
)


def content(size: int) -> np.ndarray:
    """In a room, or what would be."""
    memory = durable_io.allocate(size)
    memory[:] = np.random.default_rng(size).integers(0, 256, size)
    return memory


@pytest.mark.parametrize("size", SIZES)
def test_what_is_written_is_there_and_its_sum_returned(tmp_path: Path, size: int) -> None:
    place = tmp_path / "made as that of a checkpoint is"
    place.mkdir()
    for start in (0, min(size, 3)):  # of which disks cannot read from the second
        wanted = content(size)[start:]
        total = durable_io.write(place, {"a": wanted})["a"]
        assert (place / "a").read_bytes() == wanted.tobytes()
        assert total == hashlib.sha256(wanted).hexdigest()
    assert [path.name for path in place.iterdir()] == ["a"]
    assert (place / "a").stat().st_mode & 0o777 == place.stat().st_mode & 0o666


def test_each_of_several_files_has_its_own_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They take their own ways, and are synced when all are written."""
    done: list[str] = []
    put, sync = durable_io._put, os.fsync
    monkeypatch.setattr(durable_io, "_put", lambda file, meant: (done.append("written"), put(file, meant))[1])
    monkeypatch.setattr(os, "fsync", lambda descriptor: (done.append("synced"), sync(descriptor))[1])
    files = {"a": content(3 * BLOCK), "b": content(5 * BLOCK + 1)[1:], "c": content(7)}
    assert durable_io.write(tmp_path, files) == {name: hashlib.sha256(each).hexdigest() for name, each in files.items()}
    assert all((tmp_path / name).read_bytes() == each.tobytes() for name, each in files.items())
    assert done == ["written"] * 3 + ["synced"] * 3
    monkeypatch.setattr(
        durable_io, "_put", lambda file, meant: put(file, np.zeros_like(meant) if len(meant) == 7 else meant)
    )
    with pytest.raises(OSError, match="c does not read back as it was written"):
        durable_io.write(tmp_path, files)


def test_whole_blocks_pass_by_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed = {"write": 0, "readinto": 0}

    def passes(file: io.FileIO) -> bool:
        return bool(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DIRECT)

    class Seen(io.FileIO):
        def write(self, part: memoryview) -> int:
            passed["write"] += len(part) * passes(self)
            return super().write(part)

        def readinto(self, memory: memoryview) -> int:
            count = super().readinto(memory)
            passed["readinto"] += count * passes(self)
            return count

    monkeypatch.setattr(io, "FileIO", Seen)
    with (tmp_path / "a").open("wb") as file:
        try:
            fcntl.fcntl(file, fcntl.F_SETFL, os.O_DIRECT)
        except OSError:
            pytest.skip("a file system without O_DIRECT")
    durable_io.write(tmp_path, {"a": content(10 * BLOCK + 3)})
    assert passed == {"write": 10 * BLOCK, "readinto": 10 * BLOCK + 3}
    durable_io.write(tmp_path, {"a": content(10 * BLOCK + 3)[1:]})
    assert passed == {"write": 20 * BLOCK, "readinto": 10 * BLOCK + 3}, "tried once, and refused"


@pytest.mark.parametrize("refuses", [fcntl.F_SETFL, None])
def test_a_file_system_that_has_only_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses: int | None
) -> None:
    """Says so when it is asked, or when it is written to."""
    real = fcntl.fcntl

    def asked(file: io.FileIO, what: int, flags: int = 0) -> int:
        if what == refuses and flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(file, what, flags)

    class Small(io.FileIO):
        def write(self, part: memoryview) -> int:
            if real(self, fcntl.F_GETFL) & os.O_DIRECT:
                raise OSError(errno.EINVAL, "Invalid argument")
            return super().write(part)

        def readinto(self, memory: memoryview) -> int:
            assert not real(self, fcntl.F_GETFL) & os.O_DIRECT
            return super().readinto(memory)

    monkeypatch.setattr(fcntl, "fcntl", asked)
    monkeypatch.setattr(io, "FileIO", Small)
    wanted = content(5 * BLOCK + 1)
    assert durable_io.write(tmp_path, {"a": wanted})["a"] == hashlib.sha256(wanted).hexdigest()
    assert (tmp_path / "a").read_bytes() == wanted.tobytes()


@pytest.mark.parametrize("at", [0, 1, 30, BLOCK, 2 * durable_io._CHUNK, -1])
def test_a_byte_that_changes_on_its_way_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    put = durable_io._put

    def changed(file: io.FileIO, meant: np.ndarray) -> bool:
        other = durable_io.allocate(len(meant))
        other[:] = meant
        other[at] ^= 4
        return put(file, other)

    monkeypatch.setattr(durable_io, "_put", changed)
    with pytest.raises(OSError, match="a does not read back as it was written"):
        durable_io.write(tmp_path, {"a": content(2 * durable_io._CHUNK + 5)})
    place = tmp_path / "step-000000001.tmp-a-0"
    with pytest.raises(OSError, match="a does not read back as it was written"):
        shards.write_shard(place, {"a": content(2 * durable_io._CHUNK + 5)}, shard=1, shared_digests={})
    left = sorted(path.name for path in place.iterdir())
    assert left == ["a", "part-0001.failed"], "nothing says that it is there"


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize("more", [-1, 1])
def test_bytes_that_are_missing_or_too_many_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, more: int
) -> None:
    put = durable_io._put
    monkeypatch.setattr(durable_io, "_put", lambda file, meant: put(file, np.resize(meant, len(meant) + more)))
    with pytest.raises(OSError, match="a does not read back as it was written"):
        durable_io.write(tmp_path, {"a": content(size)})


def test_a_full_disk_is_not_taken_for_one_without_the_short_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.FileIO):
        def write(self, part: memoryview) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(io, "FileIO", Full)
    with pytest.raises(OSError, match="No space left"):
        durable_io.write(tmp_path, {"a": content(BLOCK)})
