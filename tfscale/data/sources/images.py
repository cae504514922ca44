"""Source for images: JPEG and PNG files, in a folder for each class or named by a table.

Files are decoded when they are read, so they need not fit in memory; decoding runs on all cores.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, final

import numpy as np

from tfscale import cores
from tfscale.data import labels
from tfscale.data.base import Normalizer, Source, Split
from tfscale.data.preprocessing import Preprocessing, class_names
from tfscale.data.sources import image_files
from tfscale.data.sources.image_files import Images
from tfscale.errors import UserError
from tfscale.specs import ArraySpec, ElementSpec

if TYPE_CHECKING:
    import tensorflow as tf

    from tfscale.data.base import Batch


def check(
    *,
    folder: str | None,
    table: str | None,
    path: str,
    label: str | None,
    validation_table: str | None,
    test_table: str | None,
    size: Sequence[int] | None,
    crop: bool,
    channels: int,
    on_error: str,
) -> None:
    """Checks that the folder has classes with images, or that the table names images that are there.

    Raises:
        UserError: There is neither; or a file, a column, an image or a label is missing.
    """
    _found(folder, table, path, label, validation_table, test_table, skip=on_error == "skip")


def _found(
    folder: str | None,
    table: str | None,
    path: str,
    label: str | None,
    validation_table: str | None,
    test_table: str | None,
    *,
    skip: bool,
) -> dict[Split, Images]:
    if table is not None:
        named = {Split.TRAIN: table, Split.VALIDATION: validation_table, Split.TEST: test_table}
        keys = {Split.TRAIN: "table", Split.VALIDATION: "validation_table", Split.TEST: "test_table"}
        tables = {split: (f"data.{keys[split]}", file) for split, file in named.items() if file is not None}
        return image_files.from_tables(tables, folder, path, label, skip=skip)
    if folder is None:
        raise UserError(
            "data must have data.folder, a folder with a folder of images for each class, or data.table, a table of "
            "paths and labels, for data=images, got neither; type data.folder=PATH"
        )
    if validation_table is not None or test_table is not None:
        raise UserError(
            "data.validation_table and data.test_table must be null without data.table; put the images below train/, "
            "validation/ and test/, or type data.table=PATH"
        )
    return image_files.from_folder(folder, labelled=label is not None)


@final
class ImageExamples:
    """Images of files; implements `base.Examples`.

    Args:
        images: Their files.
        targets: [N] class numbers or measurements; None without.
        size: (height, width) of every image.
        crop: Whether an image keeps its proportions.
        channels: 1 or 3.
    """

    is_slow = True

    def __init__(
        self, images: Images, targets: np.ndarray | None, *, size: tuple[int, int], crop: bool, channels: int
    ) -> None:
        self._images, self._targets = images, targets
        import tensorflow as tf

        from tfscale.data import image_decoding

        self._shape = (*size, channels)
        self._decode = image_decoding.decoder(size, crop=crop, channels=channels)

        with tf.device("/CPU:0"):
            self._paths = tf.constant([str(path) for path in images.paths])
            self._labels = () if targets is None else tf.constant(targets)

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self._images.paths)

    def read(self, indices: "tf.Tensor") -> "Batch":
        """Returns x [b, height, width, channels] uint8 and y [b]; see `base.Examples`."""
        import tensorflow as tf

        paths = tf.gather(self._paths, indices)
        y = () if self._targets is None else tf.gather(self._labels, indices)
        signature = tf.TensorSpec(self._shape, tf.uint8)
        images = tf.map_fn(lambda path: self._decode(tf.io.read_file(path)), paths, fn_output_signature=signature)
        return images, y, tf.ones(tf.shape(indices))

    def name(self, index: int) -> str:
        """Returns the path of an image, and its line in a table."""
        return self._images.names[index]

    def targets(self) -> np.ndarray | None:
        """Returns the class numbers or measurements, [N]."""
        return self._targets

    def column(self, name: str) -> np.ndarray:
        """Returns a column of the table, or the paths; see `base.Examples`."""
        return self._images.column(name)


def images(
    *,
    folder: str | None,
    table: str | None,
    path: str,
    label: str | None,
    validation_table: str | None,
    test_table: str | None,
    size: Sequence[int] | None,
    crop: bool,
    channels: int,
    on_error: Literal["error", "skip"],
    learned: Preprocessing | None = None,
) -> Source:
    """Returns x [height, width, channels] uint8, scaled to 0..1, and y: the class by its folder's name, or the label.

    With `learned`, of the run that reads the images later, they get its size and class numbers.

    Raises:
        UserError: See `check`; the first image cannot be read and `size` is None; or no image of a split can be.
    """
    skip = on_error == "skip"
    found = _found(folder, table, path, label, validation_table, test_table, skip=skip)
    if skip:
        found = {split: _readable(each, channels) for split, each in found.items()}
    shape = (int(size[0]), int(size[1])) if size is not None else _size(found[Split.TRAIN], channels, learned)
    parts = {split: each.targets for split, each in found.items() if each.targets is not None}
    target, numbered = labels.described("y", parts, None, class_names(learned)) if parts else (None, {})
    examples = {
        split: ImageExamples(each, numbered.get(split), size=shape, crop=crop, channels=channels)
        for split, each in found.items()
    }
    return Source(
        spec=ElementSpec(x=ArraySpec(shape=(*shape, channels), dtype="uint8"), y=target),
        examples=examples,
        digest=_digest(found, (shape, crop, channels)),
        normalizers=Normalizer(factor=1 / 255),
        skipped=sum(each.skipped for each in found.values()),
        contents=lambda split: _contents(found[split]),
    )


def _size(images: Images, channels: int, learned: Preprocessing | None) -> tuple[int, int]:
    """Returns height and width of the run's images, or of the first image."""
    import tensorflow as tf

    if learned is not None and isinstance(learned.spec.x, ArraySpec) and len(learned.spec.x.shape) == 3:
        return learned.spec.x.shape[0], learned.spec.x.shape[1]
    try:
        image = tf.io.decode_image(images.paths[0].read_bytes(), channels=channels, expand_animations=False)
    except tf.errors.OpError as error:
        raise UserError(f"{images.names[0]} is not an image ({error.message.splitlines()[0]}); take it away") from None
    return int(image.shape[0]), int(image.shape[1])


def _readable(images: Images, channels: int) -> Images:
    """Returns the images that can be decoded; reads them all, on all cores."""
    import tensorflow as tf

    def decodes(path: tf.Tensor) -> tf.Tensor:
        return tf.size(tf.io.decode_image(tf.io.read_file(path), channels=channels, expand_animations=False))

    paths = [str(path) for path in images.paths]
    numbered = tf.data.Dataset.from_tensor_slices((paths, tf.range(len(paths))))
    good = numbered.map(lambda path, index: (decodes(path), index), num_parallel_calls=cores.count()).ignore_errors()
    options = tf.data.Options()
    options.autotune.enabled = False
    kept = [int(index) for _, index in good.with_options(options)]
    if not kept:
        raise UserError(f"{images.names[0]} and all others of its split are no images; check the files")
    return images.only(kept)


def _contents(images: Images) -> str:
    """Returns the sha256 of the files."""
    total = hashlib.sha256()
    for path in images.paths:
        with path.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def _digest(images: Mapping[Split, Images], settings: object) -> str:
    """Digest of paths, labels and sizes: contents are too large to be read for it."""
    total = hashlib.sha256(repr(settings).encode())
    for split, each in images.items():
        for key, path in zip(each.keys, each.paths, strict=True):
            total.update(f"{split.value} {key} {path.stat().st_size}\n".encode())
    return total.hexdigest()
