"""Source for a .npz file with x_train, y_train, x_test and y_test, as keras.datasets has them; never unpickles."""

import tokenize
import zipfile
import zlib

import numpy as np

from tfscale import user_paths
from tfscale.data import checksums
from tfscale.data.base import Arrays
from tfscale.data.sources import named_arrays
from tfscale.errors import UserError

HOW = "save it with numpy.savez(file, x_train=..., y_train=..., x_test=..., y_test=...)"


def check(*, file: str | None) -> None:
    """Checks that the file exists and has arrays of the right names.

    Raises:
        UserError: It is missing or unreadable, lacks an array, or has one of another name.
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
    named_arrays.check(names, f"data.file={file}", HOW)


def npz(*, file: str) -> Arrays:
    """Reads the arrays of a file; see `named_arrays`. 3-D x gets a last axis of length 1.

    Raises:
        UserError: An array is damaged or pickled.
    """
    check(file=file)
    path = user_paths.expanded(file)
    checksums.verify(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            return named_arrays.assembled({name: archive[name] for name in archive.files})
    except (
        *(ValueError, OSError, EOFError, MemoryError, SyntaxError, RuntimeError),
        *(zipfile.BadZipFile, zlib.error, tokenize.TokenError),
    ) as error:
        raise UserError(f"data.file={file} cannot be read ({error}); write it again without pickled objects") from None
