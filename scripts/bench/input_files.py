"""Files for the bench of input, the same at every run: what `tfscale train data=...` and hand-written pipelines read.

Contents only matter for their cost: images are smooth with some noise, as photographs are for a decoder.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

CLASSES = 4
LABEL = "label"
"""Name of the column, and of the feature of a record, to predict."""

LARGE, SIZE = 128, 64
"""Pixels a side of the JPEG files, and of the images that a model gets."""

DIGIT = 28
"""Pixels a side of the images in arrays."""

COLUMNS = 20
"""Numbers in a row of a table, and in a record."""

SHARDS = 4
"""Files with records."""


def picture(number: int, size: int, channels: int) -> np.ndarray:
    """Returns an image [size, size, channels] uint8: waves that differ from image to image, and noise."""
    draw = np.random.default_rng(number)
    pitch = draw.uniform(0.02, 0.3, (2, channels))
    place = np.arange(size)[:, np.newaxis]
    waves = 110 + 80 * np.sin((place * pitch[0])[:, np.newaxis] + (place * pitch[1])[np.newaxis])
    return (waves + draw.normal(0, 4, waves.shape)).clip(0, 255).astype(np.uint8)


def rows(count: int) -> np.ndarray:
    """Returns numbers [count, COLUMNS] float32."""
    return np.random.default_rng(0).standard_normal((count, COLUMNS)).astype(np.float32)


def labels(count: int) -> np.ndarray:
    """Returns classes [count] int64, in turns."""
    return np.arange(count) % CLASSES


def write_images(folder: Path, count: int) -> Sequence[str]:
    """Writes JPEG files, a folder for each class; returns the overrides that name them, as do all of these."""
    import tensorflow as tf

    for kind in range(CLASSES):
        (folder / str(kind)).mkdir()
    for number in range(count):
        content = tf.io.encode_jpeg(picture(number, LARGE, 3), quality=90).numpy()
        (folder / str(number % CLASSES) / f"{number:06}.jpg").write_bytes(content)
    return ("data=images", f"data.folder={folder}", f"data.size=[{SIZE},{SIZE}]")


def write_image_records(folder: Path, count: int) -> Sequence[str]:
    """Exports images by `tfscale data export`: records with a PNG image."""
    from tfscale.data.arrays import source_of
    from tfscale.data.base import Arrays
    from tfscale.data.export import export

    images = np.stack([picture(number, SIZE, 3) for number in range(count)])
    export(source_of(Arrays(images, labels(count))), folder, shard_examples=-(-count // SHARDS))
    return ("data=tfrecord", f"data.files={folder}")


def write_row_records(folder: Path, count: int) -> Sequence[str]:
    """Exports rows of numbers by `tfscale data export`."""
    from tfscale.data.arrays import source_of
    from tfscale.data.base import Arrays
    from tfscale.data.export import export

    export(source_of(Arrays(rows(count), labels(count))), folder, shard_examples=-(-count // SHARDS))
    return ("data=tfrecord", f"data.files={folder}")


def write_table(folder: Path, count: int) -> Sequence[str]:
    """Writes table.csv, with a line of names."""
    with (folder / "table.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow([*(f"x{column}" for column in range(COLUMNS)), LABEL])
        table.writerows([*row, kind] for row, kind in zip(rows(count).tolist(), labels(count).tolist(), strict=True))
    return ("data=table", f"data.file={folder / 'table.csv'}", f"data.label={LABEL}")


def write_npz(folder: Path, count: int) -> Sequence[str]:
    """Writes arrays.npz, which tfscale reads into memory."""
    np.savez(folder / "arrays.npz", x_train=_digits(count), y_train=labels(count))
    return ("data=npz", f"data.file={folder / 'arrays.npz'}")


def write_npy(folder: Path, count: int) -> Sequence[str]:
    """Writes x_train.npy and y_train.npy, which tfscale maps into memory."""
    np.save(folder / "x_train.npy", _digits(count))
    np.save(folder / "y_train.npy", labels(count))
    return ("data=npy", f"data.folder={folder}")


def _digits(count: int) -> np.ndarray:
    return np.stack([picture(number, DIGIT, 1) for number in range(count)])
