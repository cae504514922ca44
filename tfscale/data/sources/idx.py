"""Source for MNIST's file format, plain or gzipped: a truncated file is an error, never a smaller data set.

References:
    LeCun, Cortes, Burges, "The MNIST database"; Xiao et al. 2017, Fashion-MNIST (the same format).
"""

import gzip
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfscale import user_paths
from tfscale.data import checksums
from tfscale.data.base import Arrays
from tfscale.data.download import catalog
from tfscale.errors import UserError

CLASSES = 10


class _Header(NamedTuple):
    shape: tuple[int, ...]
    length: int

    @property
    def size(self) -> int:
        return self.length + int(np.prod(self.shape, dtype=np.int64))


def _find(folder: Path, name: str) -> Path:
    """Returns the path of a part of the data set."""
    path = catalog.find(folder, name)
    if path is None:
        raise UserError(
            f"data.folder={folder} has neither {name} nor {name}.gz; point data.folder to a folder with the four IDX "
            "files"
        )
    return path


def _header(path: Path, start: bytes) -> _Header:
    """Parses magic number and shape from the first bytes of a file."""
    rank = start[3] if len(start) >= 4 else 0
    if start[:3] != b"\0\0\x08" or rank not in (1, 3) or len(start) < 4 + 4 * rank:
        raise UserError(f"{path} is not an IDX file of bytes (its first bytes are {start[:4].hex(' ')}); get it again")
    return _Header(struct.unpack_from(f">{rank}I", start, 4), 4 + 4 * rank)


def _read(path: Path) -> np.ndarray:
    """Reads the array of an IDX file.

    Raises:
        UserError: The file is not IDX, or differs from its folder's sum or its header's length.
    """
    checksums.verify(path)
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as stream:
            start = stream.read(16)
            header = _header(path, start)
            # One byte more than announced shows that the header is wrong.
            content = start + stream.read(max(0, header.size - len(start)) + 1)
    except PermissionError as error:
        raise user_paths.unreadable(path, error) from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}); get it again") from None
    if len(content) != header.size:
        got = "more" if len(content) > header.size else f"{len(content):,}"
        raise UserError(f"{path} must have {header.size:,} bytes by its header, got {got}; get it again")
    return np.frombuffer(content, np.uint8, offset=header.length).reshape(header.shape)


def check(*, name: str, folder: str | None) -> None:
    """Checks that the four files exist, and that plain ones have the length that their header announces.

    Raises:
        UserError: A file is missing, unreadable, or of another length.
    """
    root = catalog.folder_of(name, folder)
    for part in catalog.PARTS:
        path = _find(root, part)
        if path.suffix != ".gz":
            header, length = _header(path, user_paths.first_bytes(path, 16)), path.stat().st_size
            if length != header.size:
                raise UserError(f"{path} must have {header.size:,} bytes by its header, got {length:,}; get it again")


def idx(*, name: str, folder: str | None) -> Arrays:
    """Reads the four IDX files of a data set: x [N, 28, 28, 1] bytes scaled to 0..1, y in 0..9.

    Args:
        name: The data set, mnist or fashion_mnist.
        folder: The folder with the files; None for that of `tfscale data fetch`.

    Raises:
        UserError: A file is missing, damaged, or does not match the others.
    """
    root = catalog.folder_of(name, folder)
    x_train, y_train, x_test, y_test = (_read(_find(root, part)) for part in catalog.PARTS)
    for x, y, part in ((x_train, y_train, "train"), (x_test, y_test, "t10k")):
        if x.ndim != 3 or y.ndim != 1 or len(x) != len(y) or len(x) == 0:
            raise UserError(
                f"the {part} files in {root} do not match: images {x.shape}, labels {y.shape}; get them again"
            )
        if y.max() >= CLASSES:
            raise UserError(f"the {part} labels in {root} must be 0 to {CLASSES - 1}, got {y.max()}; get them again")
    if x_train.shape[1:] != x_test.shape[1:]:
        raise UserError(f"train and test images in {root} differ in shape; get them again")
    return Arrays(x_train[..., np.newaxis], y_train, x_test[..., np.newaxis], y_test, 1 / 255, CLASSES)
