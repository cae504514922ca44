"""Writes the files that recipes train on: `python -m tfscale.scripts.datasets NAME FOLDER`.

The data are real: tables that scikit-learn contains, docstrings of installed packages, and Fashion-MNIST, which
`tfscale data fetch fashion_mnist` brings.
"""

import argparse
import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from tfscale.scripts.datasets import docstrings

from tfscale.data.sources.idx import idx

FASHION = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
"""Names of Fashion-MNIST's classes."""

LARGE = 870_000
"""Images of the large arrays: 8 GB."""


def diabetes(folder: Path) -> None:
    """Writes diabetes.csv: 442 patients, ten measurements, and the progression after a year."""
    from sklearn.datasets import load_diabetes

    bunch = load_diabetes(scaled=False)
    _table(folder / "diabetes.csv", [*bunch.feature_names, "progression"], np.column_stack([bunch.data, bunch.target]))


def breast_cancer(folder: Path) -> None:
    """Writes breast_cancer.csv: 569 tumours, thirty measurements, malignant or benign."""
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    rows = [[*row, bunch.target_names[target]] for row, target in zip(bunch.data, bunch.target, strict=True)]
    _table(folder / "breast_cancer.csv", [*bunch.feature_names, "diagnosis"], rows)


def linnerud(folder: Path) -> None:
    """Writes linnerud.csv: 20 men, three exercises and three physiological measurements."""
    from sklearn.datasets import load_linnerud

    bunch = load_linnerud()
    _table(
        folder / "linnerud.csv",
        [*bunch.feature_names, *bunch.target_names],
        np.column_stack([bunch.data, bunch.target]),
    )


def docstring_texts(folder: Path) -> None:
    """Writes docstrings.csv, and those of validation and test: 19,000 paragraphs, and the package that each is of."""
    for split, rows in docstrings.texts().items():
        name = "docstrings.csv" if split == "train" else f"docstrings_{split}.csv"
        _table(folder / name, ["text", "label"], rows)


def fashion_images(folder: Path) -> None:
    """Writes 6,000 training and 1,000 test images of Fashion-MNIST as JPEG files, a folder a class."""
    import tensorflow as tf

    for (split, images, labels), count in zip(_fashion(), (6000, 1000), strict=True):
        for index, (image, label) in enumerate(zip(images[:count], labels[:count], strict=True)):
            path = folder / "fashion" / split / FASHION[label] / f"{index:05}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tf.io.encode_jpeg(image, quality=95).numpy())


def digit_pairs(folder: Path) -> None:
    """Writes digit_pairs.npz: pairs of handwritten digits, and whether they show the same digit."""
    from sklearn.datasets import load_digits

    bunch, random = load_digits(), np.random.default_rng(0)
    images, labels = (bunch.images / 16).astype(np.float32)[..., np.newaxis], bunch.target
    order = random.permutation(len(images))
    arrays: dict[str, np.ndarray] = {}
    for split, own, count in (("train", order[:1400], 12000), ("test", order[1400:], 2000)):
        left = random.choice(own, count)
        right = np.array([random.choice(own[(labels[own] == labels[one]) == (n % 2)]) for n, one in enumerate(left)])
        arrays[f"x_{split}.left"], arrays[f"x_{split}.right"] = images[left], images[right]
        arrays[f"y_{split}"] = labels[left] == labels[right]
    np.savez(folder / "digit_pairs.npz", **arrays)  # pyright: ignore[reportArgumentType]


def large_arrays(folder: Path) -> None:
    """Writes large/x_train.npy, 8 GB of float32: Fashion-MNIST, enlarged to 48x48, with noise; and its targets."""
    random, root = np.random.default_rng(0), folder / "large"
    root.mkdir(parents=True, exist_ok=True)
    for (split, images, labels), count in zip(_fashion(), (LARGE, 2000), strict=True):
        shape = (count, 48, 48, 1)
        mapped = np.lib.format.open_memmap(root / f"x_{split}.npy", mode="w+", dtype=np.float32, shape=shape)
        chosen = random.integers(0, len(images), count)
        for start in range(0, count, 1000):
            part = images[chosen[start : start + 1000]].astype(np.float32) / 255
            padded = np.pad(part, ((0, 0), (10, 10), (10, 10), (0, 0)))
            mapped[start : start + 1000] = padded + 0.1 * random.standard_normal(padded.shape, np.float32)
        mapped.flush()
        np.save(root / f"y_{split}.npy", labels[chosen].astype(np.int64))


WRITERS: Mapping[str, Callable[[Path], None]] = {
    each.__name__: each
    for each in (diabetes, breast_cancer, linnerud, docstring_texts, fashion_images, digit_pairs, large_arrays)
}


def _fashion() -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Returns split, images [N, 28, 28, 1] uint8 and labels [N] of Fashion-MNIST."""
    arrays = idx(name="fashion_mnist", folder=None)
    parts = (("train", arrays.x_train, arrays.y_train), ("test", arrays.x_test, arrays.y_test))
    return [(split, np.asarray(x), np.asarray(y)) for split, x, y in parts]


def _table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)


def main() -> None:
    """Writes a data set."""
    parser = argparse.ArgumentParser(prog="python -m tfscale.scripts.datasets", description=__doc__)
    parser.add_argument("name", choices=sorted(WRITERS), help="data set")
    parser.add_argument("folder", type=Path, help="where its files go")
    words = parser.parse_args()
    words.folder.mkdir(parents=True, exist_ok=True)
    WRITERS[words.name](words.folder)
    print(f"{words.name} is in {words.folder}")


if __name__ == "__main__":
    main()
