"""Source for a .npz file with x_train, y_train, x_test and y_test, as keras.datasets has them; never unpickles."""

import tokenize
import zipfile
import zlib

import numpy as np

from tfscale import user_paths
from tfscale.data import checksums
from tfscale.data.base import Arrays
from tfscale.errors import UserError

MOST_CLASSES = 1_000_000
NAMES = ("x_train", "y_train", "x_test", "y_test")


def check(*, file: str | None) -> None:
    """Checks that the file exists and has the four arrays.

    Raises:
        UserError: It is missing or unreadable, or lacks an array.
    """
    if file is None:
        raise UserError("data.file must be a .npz file for data=npz; type data.file=PATH")
    path = user_paths.expanded(file)
    if not user_paths.is_file(path):
        raise UserError(f"data.file must be an existing .npz file, got {file}; check the path")
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
    except PermissionError as error:
        raise user_paths.unreadable(path, error) from None
    except (zipfile.BadZipFile, OSError, RuntimeError) as error:
        raise UserError(f"data.file must be a readable .npz file, got {file} ({error}); write it again") from None
    missing = [name for name in NAMES if name not in names]
    if missing:
        raise UserError(
            f"data.file must hold the arrays {', '.join(NAMES)}; {file} lacks {', '.join(missing)}: save it with "
            "numpy.savez(file, x_train=..., y_train=..., x_test=..., y_test=...)"
        )


def npz(*, file: str) -> Arrays:
    """Reads the four arrays; 3-D x gets a last axis of length 1, bytes are scaled to 0..1, labels are integers >= 0.

    Raises:
        UserError: An array is damaged, pickled, or does not match the others.
    """
    check(file=file)
    path = user_paths.expanded(file)
    checksums.verify(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            x_train, y_train, x_test, y_test = (archive[name] for name in NAMES)
    except (
        *(ValueError, OSError, EOFError, MemoryError, SyntaxError, RuntimeError),
        *(zipfile.BadZipFile, zlib.error, tokenize.TokenError),
    ) as error:
        raise UserError(f"data.file={file} cannot be read ({error}); write it again without pickled objects") from None
    for which, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        if x.ndim < 2 or x.size == 0 or x.dtype.kind not in "biuf":
            raise UserError(
                f"x_{which} of {file} must be numbers, [examples, ...], got {x.dtype} {x.shape}; save it anew"
            )
        if y.shape not in ((len(x),), (len(x), 1)):
            raise UserError(f"y_{which} of {file} must have one label for each x_{which}, got {y.shape} for {x.shape}")
        if not np.issubdtype(y.dtype, np.integer) or y.min() < 0 or y.max() >= MOST_CLASSES:
            raise UserError(
                f"y_{which} of {file} must be whole numbers from 0 to {MOST_CLASSES - 1:,}, got {y.dtype} up to "
                f"{y.max()}"
            )
    if x_train.shape[1:] != x_test.shape[1:]:
        raise UserError(f"x_train and x_test of {file} differ in shape: {x_train.shape[1:]} and {x_test.shape[1:]}")
    scale = 1 / 255 if x_train.dtype == np.uint8 else 1.0
    classes = int(max(y_train.max(), y_test.max())) + 1
    images = [x[..., np.newaxis] if x.ndim == 3 else x for x in (x_train, x_test)]
    return Arrays(images[0], y_train.reshape(-1), images[1], y_test.reshape(-1), scale, classes)
