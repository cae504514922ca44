"""TFRecord files with random access: an index of the records, and reading that verifies checksums; no TensorFlow.

TensorFlow's own reader is sequential, so step n would need all records before it. A record is its length (8 bytes), a
checksum of that, the data, and a checksum of those. The headers give the index in one pass that skips the data; the
data are verified whenever they are read.

References:
    TensorFlow, "TFRecord and tf.train.Example", TFRecords format details.
"""

import hashlib
import itertools
import os
import struct
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import final

import google_crc32c
import numpy as np

from tfscale import user_paths
from tfscale.data.base import Split
from tfscale.errors import UserError

HEADER = 12
"""Bytes before the data of a record."""

ADVICE = "write the file again, or type data.on_error=skip"
"""Advice about a damaged file, for messages."""

_FOOTER = 4
_MASK = 0xA282EAD8
_GAP = 1 << 13
"""Bytes between two records, at most, that are read together."""

_GZIP = b"\x1f\x8b"
_MOST_OPEN = 256
"""Files that stay open; those beyond are opened for each record."""


def masked_crc32c(data: bytes) -> int:
    """Returns the checksum of a record's length or data, as the format stores it."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF


def _masked_crc32c(contents: Sequence[bytes]) -> np.ndarray:
    """Returns the checksums [b] uint32 of several."""
    crc = np.fromiter(map(google_crc32c.value, contents), np.uint32, len(contents))
    return ((crc >> 15) | (crc << 17)) + np.uint32(_MASK)


def framed(data: bytes) -> bytes:
    """Returns a record of these data."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))


@dataclass(frozen=True, kw_only=True)
class Index:
    """The records of a file.

    Attributes:
        offsets: [N] int64, of the data of each record.
        lengths: [N] int64, of the data.
        checksums: [N] int64, masked crc32c of the data as the file has it; not verified here.
        size: Bytes of the file.
        fault: Message about the first record that is not there in full; None if the file ends after a whole one.
    """

    offsets: np.ndarray
    lengths: np.ndarray
    checksums: np.ndarray
    size: int
    fault: str | None


def index(path: Path) -> Index:
    """Reads the headers of a file.

    Raises:
        UserError: The file cannot be read, or is compressed.
    """
    found: list[tuple[int, int, int]] = []
    fault = None
    try:
        with path.open("rb", buffering=1 << 12) as stream:
            size, at = os.fstat(stream.fileno()).st_size, 0
            while at < size:
                stream.seek(at)
                header = stream.read(HEADER)
                if not at and header.startswith(_GZIP):
                    raise UserError(f"{path} must not be compressed, as records are read by index; type: gunzip {path}")
                length, fault = _length(header, size - at, _name(len(found), path))
                if fault is not None:
                    break
                stream.seek(at + HEADER + length)
                found.append((at + HEADER, length, int.from_bytes(stream.read(_FOOTER), "little")))
                at += HEADER + length + _FOOTER
    except OSError as error:
        raise user_paths.unreadable(path, error) from None
    if not size:
        fault = f"{path} is empty: it has no records"
    table = np.asarray(found, np.int64).reshape(-1, 3)
    return Index(offsets=table[:, 0], lengths=table[:, 1], checksums=table[:, 2], size=size, fault=fault)


def _name(number: int, path: Path) -> str:
    return f"record {number + 1} of {path}"


def _length(header: bytes, left: int, name: str) -> tuple[int, str | None]:
    """Returns the length of a record's data, and a message if it cannot be trusted."""
    if len(header) < HEADER:
        return 0, f"{name} is truncated: its header has {len(header)} bytes of {HEADER}"
    length, crc = struct.unpack("<QI", header)
    if masked_crc32c(header[:8]) != crc:
        return 0, f"{name} is damaged: the checksum of its length does not match"
    if HEADER + length + _FOOTER > left:
        return 0, f"{name} is truncated: it has {left:,} bytes of {HEADER + length + _FOOTER:,}"
    return length, None


@final
class Records:
    """Records of several files, by index over all of them.

    Args:
        paths: The files.
        table: [N, 5] int64: file, number in the file from 0, offset, length and checksum of the data.
    """

    def __init__(self, paths: Sequence[Path], table: np.ndarray) -> None:
        self._paths, self._table = tuple(paths), table
        self._open: dict[int, int] = {}
        self._lock = threading.Lock()
        weakref.finalize(self, _close, self._open)

    def __len__(self) -> int:
        """Returns the number of records."""
        return len(self._table)

    def name(self, number: int) -> str:
        """Returns the name of a record: its number in its file, and the file."""
        file, own = self._table[number, :2].tolist()
        return _name(own, self._paths[file])

    def only(self, numbers: np.ndarray) -> "Records":
        """Returns some of the records, in the order of `numbers`; their names stay."""
        return Records(self._paths, self._table[numbers])

    def read(self, number: int) -> bytes:
        """Returns the data of a record, whose checksum it verifies.

        Raises:
            UserError: The file cannot be read or has changed, or the data are damaged; the message names the record.
        """
        file, _, offset, length, checksum = self._table[number].tolist()
        try:
            content = self._bytes(file, offset - HEADER, HEADER + length + _FOOTER)
        except OSError as error:
            raise UserError(f"{self.name(number)} cannot be read ({error.strerror}); check the file") from None
        found, fault = _length(content[:HEADER], len(content), self.name(number))
        data, stored = content[HEADER:-_FOOTER], int.from_bytes(content[-_FOOTER:], "little")
        if fault is None and (found, stored) != (length, checksum):
            fault = f"{self.name(number)} has changed since the file was opened"
        if fault is None and masked_crc32c(data) != checksum:
            fault = f"{self.name(number)} is damaged: the checksum of its data does not match"
        if fault is not None:
            raise UserError(f"{fault}; {ADVICE}")
        return data

    def read_all(self, numbers: np.ndarray) -> list[bytes]:
        """Returns the data of records [b], verified at once; only if one is faulty, each by `read`, which names it.

        Raises:
            UserError: See `read`.
        """
        order = np.lexsort((self._table[numbers, 2], self._table[numbers, 0]))
        table = self._table[numbers[order]]
        try:
            data, frames = self._spans(table)
        except OSError:
            return [self.read(number) for number in numbers.tolist()]
        if frames != _frames(table) or not np.array_equal(_masked_crc32c(data), table[:, 4]):
            return [self.read(number) for number in numbers.tolist()]
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return [data[place] for place in back.tolist()]

    def _spans(self, table: np.ndarray) -> tuple[list[bytes], bytes]:
        """Returns the data of records in the order of their files, and what is around it, joined; not verified.

        Neighbors are read together, as a call of the system takes longer than to copy what is between them.
        """
        files, begin, end = table[:, 0], table[:, 2] - HEADER, table[:, 2] + table[:, 3] + _FOOTER
        apart = (files[1:] != files[:-1]) | (begin[1:] - end[:-1] > _GAP)
        cuts = [0, *(np.flatnonzero(apart) + 1).tolist(), len(table)]
        held, starts, stops = files.tolist(), begin.tolist(), end.tolist()
        data: list[bytes] = []
        frames: list[bytes] = []
        for first, last in itertools.pairwise(cuts if held else ()):
            start = starts[first]
            content = self._bytes(held[first], start, stops[last - 1] - start)
            for place in range(first, last):
                low, high = starts[place] - start, stops[place] - start
                data.append(content[low + HEADER : high - _FOOTER])
                frames += (content[low : low + HEADER], content[high - _FOOTER : high])
        return data, b"".join(frames)

    def names(self, numbers: np.ndarray) -> list[str]:
        """Returns the names of records [b]."""
        return [_name(own, self._paths[file]) for file, own in self._table[numbers, :2].tolist()]

    def places(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Returns the paths of the files, and the file and the number in it, from 0, of each record, [N] int64."""
        return [str(path) for path in self._paths], self._table[:, 0], self._table[:, 1]

    def identify(self, digest: "hashlib._Hash") -> None:
        """Adds lengths and checksums of all records to a digest."""
        digest.update(np.ascontiguousarray(self._table[:, 3:]).data)

    def _bytes(self, file: int, offset: int, count: int) -> bytes:
        if file in self._open:
            return os.pread(self._open[file], count, offset)
        with self._lock:  # two threads may want the same file
            if file not in self._open and len(self._open) < _MOST_OPEN:
                self._open[file] = os.open(self._paths[file], os.O_RDONLY | os.O_CLOEXEC)
        if file in self._open:
            return os.pread(self._open[file], count, offset)
        with self._paths[file].open("rb", buffering=0) as stream:
            return os.pread(stream.fileno(), count, offset)


def _frames(table: np.ndarray) -> bytes:
    """Returns what is around the data of records, headers and checksums, joined."""
    frames = np.empty(len(table), [("length", "<u8"), ("length_checksum", "<u4"), ("checksum", "<u4")])
    frames["length"], frames["checksum"] = table[:, 3], table[:, 4]
    frames["length_checksum"] = [_checksum_of_length(length) for length in table[:, 3].tolist()]
    return frames.tobytes()


@lru_cache(maxsize=1 << 14)
def _checksum_of_length(length: int) -> int:
    return masked_crc32c(struct.pack("<Q", length))


def _close(files: dict[int, int]) -> None:
    for file in files.values():
        os.close(file)


def opened(paths: Sequence[Path], indices: Sequence[Index]) -> Records:
    """Returns the records of files in the order of the files."""

    def columns(each: Index) -> tuple[np.ndarray, ...]:
        return each.offsets, each.lengths, each.checksums

    parts = [
        np.stack([np.full(len(each.offsets), file), np.arange(len(each.offsets)), *columns(each)], axis=1)
        for file, each in enumerate(indices)
    ]
    return Records(paths, np.concatenate([np.zeros((0, 5), np.int64), *parts]))


def require_some(kept: Mapping[Split, Records]) -> None:
    """Checks that each split has a record.

    Raises:
        UserError: A split has none that can be read.
    """
    for split, each in kept.items():
        if not len(each):
            raise UserError(f"data.files must have {split.value} examples that can be read, got none; check the files")


def digest_of(kept: Mapping[Split, Records], settings: object) -> str:
    """Returns a digest of the checksums of all records, and of what is made of them."""
    total = hashlib.sha256(repr(settings).encode())
    for split, each in kept.items():
        total.update(f"{split.value} {len(each)}\n".encode())
        each.identify(total)
    return total.hexdigest()
