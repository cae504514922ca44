"""Input pipelines as a user writes them by hand in tf.data, for the files of `input_files`.

Each function returns an endless dataset of batches (x, y), float32 and int64, whose values are those of tfscale: the
same files, decoded, resized and scaled alike, in a new random order in every epoch. Everything that tf.data can tune
is left to it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tfscale.scripts.bench.input_files import COLUMNS, LABEL, SIZE

if TYPE_CHECKING:  # the files are written, and arguments read, without TensorFlow
    import tensorflow as tf

Peer = Callable[[Path, int], "tf.data.Dataset"]
"""Folder and batch -> batches."""

BUFFER = 10_000
"""Records or lines of a file that are shuffled together: what users write, as all of a file may not fit in memory."""


def images(folder: Path, batch: int) -> "tf.data.Dataset":
    """Shuffles the paths of all files; decodes and resizes as tfscale does, with a filter against aliasing."""
    return _images(folder, batch, antialias=True)


def images_aliased(folder: Path, batch: int) -> "tf.data.Dataset":
    """Resizes by tf.image.resize without further arguments, which is less work."""
    return _images(folder, batch, antialias=False)


def _images(folder: Path, batch: int, *, antialias: bool) -> "tf.data.Dataset":
    import tensorflow as tf

    paths = sorted(folder.glob("*/*.jpg"))

    def load(path: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.image.resize(image, (SIZE, SIZE), antialias=antialias) / 255, label

    names, kinds = [str(path) for path in paths], np.asarray([int(path.parent.name) for path in paths])
    examples = tf.data.Dataset.from_tensor_slices((names, kinds)).shuffle(len(paths)).repeat()
    return examples.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(batch).prefetch(tf.data.AUTOTUNE)


def image_records(folder: Path, batch: int) -> "tf.data.Dataset":
    """Reads several files at once, shuffles records, parses and decodes one by one."""
    import tensorflow as tf

    features = {"x": tf.io.FixedLenFeature((), tf.string), "y": tf.io.FixedLenFeature((), tf.int64)}

    def load(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        found: dict[str, tf.Tensor] = tf.io.parse_single_example(record, features)  # pyright: ignore
        image = tf.io.decode_png(found["x"], channels=3)
        return tf.cast(tf.ensure_shape(image, (SIZE, SIZE, 3)), tf.float32) / 255, found["y"]

    return _records(folder).map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(batch).prefetch(tf.data.AUTOTUNE)


def row_records(folder: Path, batch: int) -> "tf.data.Dataset":
    """Parses a whole batch at a time, as nothing in it has to be decoded."""
    import tensorflow as tf

    features = {"x": tf.io.FixedLenFeature((COLUMNS,), tf.float32), "y": tf.io.FixedLenFeature((), tf.int64)}

    def load(records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        found: dict[str, tf.Tensor] = tf.io.parse_example(records, features)  # pyright: ignore
        return found["x"], found["y"]

    return _records(folder).batch(batch).map(load, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _records(folder: Path) -> "tf.data.Dataset":
    import tensorflow as tf

    files = [str(path) for path in sorted(folder.glob("*.tfrecord"))]
    return tf.data.TFRecordDataset(files, num_parallel_reads=tf.data.AUTOTUNE).shuffle(BUFFER).repeat()


def csv_dataset(folder: Path, batch: int) -> "tf.data.Dataset":
    """Parses the file anew in every epoch, by TensorFlow's own function for it."""
    import tensorflow as tf

    def load(columns: Mapping[str, tf.Tensor], label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.stack(list(columns.values()), axis=1), label

    lines = tf.data.experimental.make_csv_dataset(
        str(folder / "table.csv"),
        batch,
        column_defaults=[tf.float32] * COLUMNS + [tf.int64],
        label_name=LABEL,
        shuffle_buffer_size=BUFFER,
        prefetch_buffer_size=tf.data.AUTOTUNE,
    )
    return lines.map(load, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def table_slices(folder: Path, batch: int) -> "tf.data.Dataset":
    """Reads the file once by pyarrow, and shuffles rows in memory."""
    return _slices(*_columns(folder), batch)


def table_gather(folder: Path, batch: int) -> "tf.data.Dataset":
    """Shuffles row numbers, and takes a whole batch of rows at a time."""
    return _gathered(*_columns(folder), batch)


def _columns(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    from pyarrow import csv

    table = csv.read_csv(folder / "table.csv")
    label = table.column(LABEL).to_numpy()
    columns = [table.column(name).to_numpy() for name in table.column_names if name != LABEL]
    return np.stack(columns, axis=1).astype(np.float32), label


def npz_slices(folder: Path, batch: int) -> "tf.data.Dataset":
    """Shuffles slices of arrays in memory."""
    with np.load(folder / "arrays.npz") as arrays:
        return _slices(arrays["x_train"], arrays["y_train"], batch)


def npz_gather(folder: Path, batch: int) -> "tf.data.Dataset":
    """Shuffles numbers of examples, and takes a whole batch at a time."""
    with np.load(folder / "arrays.npz") as arrays:
        return _gathered(arrays["x_train"], arrays["y_train"], batch)


def npy_slices(folder: Path, batch: int) -> "tf.data.Dataset":
    """Reads whole files into memory, which tfscale does not, and shuffles slices."""
    return _slices(np.load(folder / "x_train.npy"), np.load(folder / "y_train.npy"), batch)


def npy_gather(folder: Path, batch: int) -> "tf.data.Dataset":
    """Reads whole files into memory, and takes a whole batch at a time."""
    return _gathered(np.load(folder / "x_train.npy"), np.load(folder / "y_train.npy"), batch)


def npy_mapped(folder: Path, batch: int) -> "tf.data.Dataset":
    """Maps files into memory, as tfscale does, and takes batches of rows from there in Python."""
    import tensorflow as tf

    x, y = (np.load(folder / f"{name}_train.npy", mmap_mode="r") for name in "xy")

    def load(numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        found = tf.numpy_function(lambda own: (x[own], y[own]), [numbers], (tf.uint8, tf.int64), stateful=False)
        return _scaled(tf.ensure_shape(found[0], (None, *x.shape[1:])), tf.ensure_shape(found[1], (None,)))

    numbers = tf.data.Dataset.range(len(x)).shuffle(len(x)).repeat().batch(batch)
    return numbers.map(load, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _slices(x: np.ndarray, y: np.ndarray, batch: int) -> "tf.data.Dataset":
    import tensorflow as tf

    batches = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x)).repeat().batch(batch)
    return batches.map(_scaled, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _gathered(x: np.ndarray, y: np.ndarray, batch: int) -> "tf.data.Dataset":
    import tensorflow as tf

    inputs, targets = tf.constant(x), tf.constant(y)

    def load(numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return _scaled(tf.gather(inputs, numbers), tf.gather(targets, numbers))

    numbers = tf.data.Dataset.range(len(x)).shuffle(len(x)).repeat().batch(batch)
    return numbers.map(load, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _scaled(x: "tf.Tensor", y: "tf.Tensor") -> "tuple[tf.Tensor, tf.Tensor]":
    import tensorflow as tf

    return (tf.cast(x, tf.float32) / 255 if x.dtype == tf.uint8 else x), y
