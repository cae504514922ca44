"""Folders of small images, for tests."""

from pathlib import Path

import numpy as np
import tensorflow as tf


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
