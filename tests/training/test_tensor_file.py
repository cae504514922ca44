"""A file is there whole, and as it was meant, or not at all."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from tfscale.training import durable, tensor_file

ARRAYS = {
    "weights": np.arange(70_000, dtype=np.float32).reshape(100, 700),
    "count": np.array(7),
    "none": np.zeros((0, 3), np.float16),
    "flags": np.array([True, False, True]),
}


def damaged_by(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """The byte at this place changes as tensors are written."""
    whole = tensor_file.serialize_file

    def write(specs: dict, path: Path) -> None:
        whole(specs, path)
        content = bytearray(path.read_bytes())
        content[at] ^= 4
        path.write_bytes(content)

    monkeypatch.setattr(tensor_file, "serialize_file", write)


def test_what_is_written_is_what_the_library_makes(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    total = tensor_file.write(path, ARRAYS)
    assert path.read_bytes() == safetensors.numpy.save(ARRAYS)
    assert total == hashlib.sha256(path.read_bytes()).hexdigest()
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == tmp_path.stat().st_mode & 0o666


@pytest.mark.parametrize("at", [0, 1, 6, 7, 8, 11, 30, 60, 110, 200, 270, 300, 200_000, -1])
def test_a_byte_that_changes_on_its_way_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    damaged_by(monkeypatch, at)
    with pytest.raises(OSError, match="does not read back as it was written"):
        tensor_file.write(tmp_path / "a.safetensors", ARRAYS)
    assert not (tmp_path / "a.safetensors").exists()


@pytest.mark.parametrize("written", [b"", b"abd", b"ab", b"abcd"])
def test_other_bytes_fewer_or_more_are_found(tmp_path: Path, written: bytes) -> None:
    with (
        pytest.raises(OSError, match=r"a\.json does not read back as it was written"),
        durable.written(tmp_path / "a.json", lambda aside: aside.write_bytes(written)) as stream,
    ):
        durable.expect(stream, memoryview(b"abc"))
    assert not (tmp_path / "a.json").exists()
