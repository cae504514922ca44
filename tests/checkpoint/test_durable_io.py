"""A file is on the disk as it was given, or an error says that it is not."""

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
    """Random bytes in memory that is aligned for direct writes."""
    memory = durable_io.allocate(size)
    memory[:] = np.random.default_rng(size).integers(0, 256, size)
    return memory


@pytest.mark.parametrize("size", SIZES)
def test_a_written_file_has_its_bytes_and_its_sum_is_returned(tmp_path: Path, size: int) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for start in (0, min(size, 3)):  # the second is not aligned
        wanted = content(size)[start:]
        total = durable_io.write(folder, {"a": wanted})["a"]
        assert (folder / "a").read_bytes() == wanted.tobytes()
        assert total == hashlib.sha256(wanted).hexdigest()
    assert [path.name for path in folder.iterdir()] == ["a"]
    assert (folder / "a").stat().st_mode & 0o777 == folder.stat().st_mode & 0o666


def test_each_of_several_files_has_its_own_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are written before the first is synced."""
    done: list[str] = []
    put, sync = durable_io._write, os.fsync
    monkeypatch.setattr(durable_io, "_write", lambda file, given: (done.append("written"), put(file, given))[1])
    monkeypatch.setattr(os, "fsync", lambda descriptor: (done.append("synced"), sync(descriptor))[1])
    files = {"a": content(3 * BLOCK), "b": content(5 * BLOCK + 1)[1:], "c": content(7)}
    assert durable_io.write(tmp_path, files) == {name: hashlib.sha256(each).hexdigest() for name, each in files.items()}
    assert all((tmp_path / name).read_bytes() == each.tobytes() for name, each in files.items())
    assert done == ["written"] * 3 + ["synced"] * 3
    monkeypatch.setattr(
        durable_io, "_write", lambda file, given: put(file, np.zeros_like(given) if len(given) == 7 else given)
    )
    with pytest.raises(OSError, match="c does not read back as it was written"):
        durable_io.write(tmp_path, files)


def test_whole_blocks_bypass_the_page_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    direct = {"write": 0, "readinto": 0}

    def is_direct(file: io.FileIO) -> bool:
        return bool(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DIRECT)

    class Seen(io.FileIO):
        def write(self, content: memoryview) -> int:
            direct["write"] += len(content) * is_direct(self)
            return super().write(content)

        def readinto(self, buffer: memoryview) -> int:
            count = super().readinto(buffer)
            direct["readinto"] += count * is_direct(self)
            return count

    monkeypatch.setattr(io, "FileIO", Seen)
    with (tmp_path / "a").open("wb") as file:
        try:
            fcntl.fcntl(file, fcntl.F_SETFL, os.O_DIRECT)
        except OSError:
            pytest.skip("a file system without O_DIRECT")
    durable_io.write(tmp_path, {"a": content(10 * BLOCK + 3)})
    assert direct == {"write": 10 * BLOCK, "readinto": 10 * BLOCK + 3}
    durable_io.write(tmp_path, {"a": content(10 * BLOCK + 3)[1:]})
    assert direct == {"write": 20 * BLOCK, "readinto": 10 * BLOCK + 3}, "one attempt, which was refused"


@pytest.mark.parametrize("refuses", [fcntl.F_SETFL, None])
def test_a_file_system_without_direct_writes_is_written_through_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses: int | None
) -> None:
    """It refuses the flag, or the first write with it."""
    real = fcntl.fcntl

    def set_flags(file: io.FileIO, what: int, flags: int = 0) -> int:
        if what == refuses and flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(file, what, flags)

    class Small(io.FileIO):
        def write(self, content: memoryview) -> int:
            if real(self, fcntl.F_GETFL) & os.O_DIRECT:
                raise OSError(errno.EINVAL, "Invalid argument")
            return super().write(content)

        def readinto(self, buffer: memoryview) -> int:
            assert not real(self, fcntl.F_GETFL) & os.O_DIRECT
            return super().readinto(buffer)

    monkeypatch.setattr(fcntl, "fcntl", set_flags)
    monkeypatch.setattr(io, "FileIO", Small)
    wanted = content(5 * BLOCK + 1)
    assert durable_io.write(tmp_path, {"a": wanted})["a"] == hashlib.sha256(wanted).hexdigest()
    assert (tmp_path / "a").read_bytes() == wanted.tobytes()


@pytest.mark.parametrize("at", [0, 1, 30, BLOCK, 2 * durable_io._CHUNK, -1])
def test_a_byte_that_changes_on_the_way_is_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    put = durable_io._write

    def changed(file: io.FileIO, given: np.ndarray) -> bool:
        other = durable_io.allocate(len(given))
        other[:] = given
        other[at] ^= 4
        return put(file, other)

    monkeypatch.setattr(durable_io, "_write", changed)
    with pytest.raises(OSError, match="a does not read back as it was written"):
        durable_io.write(tmp_path, {"a": content(2 * durable_io._CHUNK + 5)})
    partial = tmp_path / "step-000000001.tmp-a-0"
    with pytest.raises(OSError, match="a does not read back as it was written"):
        shards.write_shard(partial, {"a": content(2 * durable_io._CHUNK + 5)}, shard=1, shared_digests={})
    left = sorted(path.name for path in partial.iterdir())
    assert left == ["a", "part-0001.failed"], "it is not reported as written"


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize("more", [-1, 1])
def test_missing_and_surplus_bytes_are_detected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, more: int
) -> None:
    put = durable_io._write
    monkeypatch.setattr(durable_io, "_write", lambda file, given: put(file, np.resize(given, len(given) + more)))
    with pytest.raises(OSError, match="a does not read back as it was written"):
        durable_io.write(tmp_path, {"a": content(size)})


def test_a_full_disk_is_not_mistaken_for_one_without_direct_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.FileIO):
        def write(self, content: memoryview) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(io, "FileIO", Full)
    with pytest.raises(OSError, match="No space left"):
        durable_io.write(tmp_path, {"a": content(BLOCK)})
