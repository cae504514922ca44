"""Source for folders of images: JPEG and PNG files, one folder a class.

Files are decoded when they are read, so they need not fit in memory; decoding runs on all cores.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, final

import numpy as np

from tfscale import cores, user_paths
from tfscale.data.base import Normalizer, Source, Split
from tfscale.data.sources import class_folders
from tfscale.errors import UserError
from tfscale.specs import ArraySpec, ElementSpec

if TYPE_CHECKING:
    import tensorflow as tf

    from tfscale.data.base import Batch

ENDINGS = (".jpg", ".jpeg", ".png")


def check(*, folder: str | None, size: Sequence[int] | None, crop: bool, channels: int, on_error: str) -> None:
    """Checks that the folder has classes with images.

    Raises:
        UserError: The folder is missing or unreadable, or has fewer than two classes.
    """
    class_folders.found(folder, ENDINGS, "images")


@final
class ImageExamples:
    """Images of files; implements `base.Examples`.

    Args:
        files: Path and class number of each.
        size: (height, width) of every image.
        crop: Whether an image keeps its proportions.
        channels: 1 or 3.
    """

    is_slow = True

    def __init__(self, files: Sequence[tuple[Path, int]], *, size: tuple[int, int], crop: bool, channels: int) -> None:
        self._paths = [str(path) for path, _ in files]
        self._labels = np.asarray([label for _, label in files], np.int64)
        import tensorflow as tf

        from tfscale.data import image_decoding

        self._shape = (*size, channels)
        self._decode = image_decoding.decoder(size, crop=crop, channels=channels)

        with tf.device("/CPU:0"):
            self._tensors = tf.constant(self._paths), tf.constant(self._labels)

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self._paths)

    def read(self, indices: "tf.Tensor") -> "Batch":
        """Returns x [b, height, width, channels] uint8 and y [b] int64; see `base.Examples`."""
        import tensorflow as tf

        paths, labels = (tf.gather(tensor, indices) for tensor in self._tensors)
        signature = tf.TensorSpec(self._shape, tf.uint8)
        images = tf.map_fn(lambda path: self._decode(tf.io.read_file(path)), paths, fn_output_signature=signature)
        return images, labels, tf.ones(tf.shape(indices))

    def name(self, index: int) -> str:
        """Returns the path of an image."""
        return self._paths[index]

    def targets(self) -> np.ndarray:
        """Returns the class numbers, [N]."""
        return self._labels


def images(
    *,
    folder: str,
    size: Sequence[int] | None,
    crop: bool,
    channels: int,
    on_error: Literal["error", "skip"],
) -> Source:
    """Returns x [height, width, channels] uint8, scaled to 0..1, and y, the class by its folder's name.

    Raises:
        UserError: See `check`; or the first image cannot be read and `size` is None.
    """
    classes, files = class_folders.found(folder, ENDINGS, "images")
    first = files[Split.TRAIN][0][0]
    shape = (int(size[0]), int(size[1])) if size is not None else _size_of(first, channels)
    skipped = 0
    if on_error == "skip":
        sound = {split: _readable(each, channels) for split, each in files.items()}
        skipped = sum(len(files[split]) - len(sound[split]) for split in files)
        files = sound
    examples = {
        split: ImageExamples(each, size=shape, crop=crop, channels=channels) for split, each in files.items() if each
    }
    target = ArraySpec(shape=(), dtype="str", categories=len(classes), names=tuple(classes))
    return Source(
        spec=ElementSpec(x=ArraySpec(shape=(*shape, channels), dtype="uint8"), y=target),
        examples=examples,
        digest=_digest(user_paths.expanded(folder), files, (shape, crop, channels)),
        normalizers=Normalizer(factor=1 / 255),
        skipped=skipped,
    )


def _size_of(path: Path, channels: int) -> tuple[int, int]:
    import tensorflow as tf

    try:
        image = tf.io.decode_image(path.read_bytes(), channels=channels, expand_animations=False)
    except tf.errors.OpError as error:
        raise UserError(f"{path} is not an image ({error.message.splitlines()[0]}); take it away") from None
    return int(image.shape[0]), int(image.shape[1])


def _readable(files: Sequence[tuple[Path, int]], channels: int) -> list[tuple[Path, int]]:
    """Returns the files that can be decoded; reads them all, on all cores."""
    import tensorflow as tf

    def decodes(path: tf.Tensor) -> tf.Tensor:
        return tf.size(tf.io.decode_image(tf.io.read_file(path), channels=channels, expand_animations=False))

    paths = tf.data.Dataset.from_tensor_slices(([str(path) for path, _ in files], tf.range(len(files))))
    good = paths.map(lambda path, index: (decodes(path), index), num_parallel_calls=cores.count()).ignore_errors()
    options = tf.data.Options()
    options.autotune.enabled = False
    return [files[int(index)] for _, index in good.with_options(options)]


def _digest(root: Path, files: dict[Split, list[tuple[Path, int]]], settings: object) -> str:
    """Digest of names and sizes: contents are too large to be read for it."""
    total = hashlib.sha256(repr(settings).encode())
    for split, each in files.items():
        for path, label in each:
            total.update(f"{split.value} {path.relative_to(root)} {label} {path.stat().st_size}\n".encode())
    return total.hexdigest()
