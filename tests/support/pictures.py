"""Small images, in folders of classes or named by a table, for tests."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from tfscale.data.base import Source
from tfscale.data.sources import images


def write_png(path: Path, image: np.ndarray) -> None:
    """Writes [height, width, channels] uint8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tf.io.encode_png(image).numpy())


def write_classes(root: Path, counts: dict[str, int], *, size: tuple[int, int] = (6, 5)) -> dict[str, int]:
    """Writes images of one colour each, the number of the image, below a folder a class; returns path -> colour."""
    colours = {}
    for name, count in counts.items():
        for _ in range(count):
            number = len(colours)
            path = root / name / f"{number:03}.png"
            write_png(path, np.full((*size, 3), number, np.uint8))
            colours[str(path)] = number
    return colours


def read_images(**changes: object) -> Source:
    """Checks and reads images, as `data=images` does."""
    values = {
        **dict.fromkeys(("folder", "table", "validation_table", "test_table", "size")),
        "path": "path",
        "label": "label",
        "crop": False,
        "channels": 3,
        "on_error": "error",
        **{key: str(value) if isinstance(value, Path) else value for key, value in changes.items()},
    }
    images.check(**values)  # pyright: ignore[reportArgumentType]
    return images.images(**values)  # pyright: ignore[reportArgumentType]
