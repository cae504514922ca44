"""Source for a folder of .npy files, which are memory-mapped: the examples may be larger than memory."""

from pathlib import Path

import numpy as np

from tfscale import user_paths
from tfscale.data.base import Arrays
from tfscale.data.sources import named_arrays
from tfscale.errors import UserError

HOW = "save it with numpy.save('x_train.npy', ...)"


def _files(folder: str | None) -> dict[str, Path]:
    """Returns the path of each array.

    Raises:
        UserError: There is no such folder, or it lacks an array.
    """
    if folder is None:
        raise UserError("data.folder must be a folder of .npy files for data=npy; type data.folder=PATH")
    root = user_paths.expanded(folder)
    if not user_paths.is_dir(root):
        raise UserError(f"data.folder must be an existing folder, got {folder}; check the path")
    files = {path.name.removesuffix(".npy"): path for path in sorted(root.iterdir()) if path.suffix == ".npy"}
    named_arrays.check(files, f"data.folder={folder}", HOW)
    return files


def check(*, folder: str | None) -> None:
    """Checks that the files exist and begin like .npy files.

    Raises:
        UserError: One is missing, unreadable, or of another format.
    """
    for path in _files(folder).values():
        start = user_paths.first_bytes(path, 6)
        if start != b"\x93NUMPY":
            raise UserError(f"{path} is not a .npy file (its first bytes are {start.hex(' ')}); write it again")


def npy(*, folder: str) -> Arrays:
    """Maps the arrays of a folder into memory; see `named_arrays`. 3-D x gets a last axis of length 1.

    Raises:
        UserError: An array is damaged or pickled.
    """
    mapped = {}
    for name, path in _files(folder).items():
        try:
            # Targets are looked at as a whole, and are small; inputs are read in parts.
            mapped[name] = np.load(path, mmap_mode="r" if name.startswith("x_") else None, allow_pickle=False)
        except (ValueError, OSError, EOFError, SyntaxError) as error:
            raise UserError(f"{path} cannot be read ({error}); write it again without pickled objects") from None
    return named_arrays.assembled(mapped)
