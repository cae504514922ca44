"""Source for Hugging Face datasets on this machine: a folder of save_to_disk, or files that `load_dataset` reads."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfscale import user_paths
from tfscale.data.base import Source, Split
from tfscale.data.sources import class_folders
from tfscale.data.sources.needs import require_package
from tfscale.errors import UserError, first_line

if TYPE_CHECKING:
    from datasets import Dataset  # pyright: ignore[reportMissingImports]


def check(
    *,
    folder: str | None,
    files: str | Sequence[str] | Mapping[str, object] | None,
    builder: str | None,
    inputs: str | Sequence[str] | None,
    label: str | None,
    vocabulary: int | None,
) -> None:
    """Checks that the package is installed, and that a folder or files are named.

    Raises:
        UserError: The package is missing, neither or both are named, or the folder does not exist.
    """
    require_package("datasets", "huggingface")
    if (folder is None) == (files is None):
        got = "neither" if folder is None else "both"
        raise UserError(
            "data must have either data.folder, which save_to_disk wrote, or data.files with data.builder, for "
            f"data=huggingface, got {got}; type data.folder=PATH"
        )
    if files is not None and builder is None:
        raise UserError("data.builder must be the format of data.files, such as json or parquet, got null; name it")
    if folder is not None and not user_paths.is_dir(user_paths.expanded(folder)):
        raise UserError(f"data.folder must be an existing folder, got {folder}; check the path")


def huggingface(
    *,
    folder: str | None,
    files: str | Sequence[str] | Mapping[str, object] | None,
    builder: str | None,
    inputs: str | Sequence[str] | None,
    label: str | None,
    vocabulary: int | None,
) -> Source:
    """Returns the splits of a dataset that have the names train, validation (or val) and test.

    Args:
        folder: That save_to_disk wrote.
        files: Path or pattern, a list of them, or split -> those.
        builder: Name of the format of the files, such as json, csv or parquet.
        inputs: Column of the input, or columns of several; None for the only one beside the label.
        label: Column of the target; None without.
        vocabulary: Number of ids if the inputs are ids; None if they are measurements.

    Raises:
        UserError: The dataset cannot be read, has no training split, or lacks a column.
    """
    from tfscale.data.items import require_key, source_of_items

    where = f"data.folder={folder}" if folder is not None else f"data.files={files}"
    found = _read(folder, files, builder, where)
    used = {class_folders.SPLITS[name]: part for name, part in found.items() if name in class_folders.SPLITS}
    if Split.TRAIN not in used:
        raise UserError(f"data: {where} must have a split train, got {', '.join(found)}; rename one")
    others = [name for name in found if name not in class_folders.SPLITS]
    first = used[Split.TRAIN]
    targets: dict[Split, np.ndarray] = {}
    if label is not None:
        require_key(dict.fromkeys(first.column_names), where, "label", label)
        targets = {split: np.asarray(part.with_format("numpy")[label][:]) for split, part in used.items()}
    return source_of_items(
        {split: part.with_format("numpy") for split, part in used.items()},
        where=where,
        inputs=inputs,
        label=label,
        vocabulary=vocabulary,
        targets=targets,
        class_names=None if label is None else getattr(first.features[label], "names", None),
        warnings=(f"{where} has splits that are not used: {', '.join(others)}",) if others else (),
    )


def _read(folder: str | None, files: Any, builder: str | None, where: str) -> "Mapping[str, Dataset]":
    """Returns the splits by name; a dataset without splits is train."""
    import datasets  # pyright: ignore[reportMissingImports]

    try:
        if folder is not None:
            found = datasets.load_from_disk(str(user_paths.expanded(folder)))
        else:
            found = datasets.load_dataset(builder, data_files=files)
    except Exception as error:
        raise UserError(f"{where} cannot be read ({first_line(error)}); write it again") from error
    return found if isinstance(found, datasets.DatasetDict) else {"train": found}  # pyright: ignore[reportReturnType]
