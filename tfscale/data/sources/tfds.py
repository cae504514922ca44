"""Source for TensorFlow Datasets that are prepared on this machine in a format that is read by index (array_record)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfscale import user_paths
from tfscale.data.base import Source, Split
from tfscale.data.sources import class_folders
from tfscale.data.sources.needs import require_package
from tfscale.errors import UserError, first_line


def check(
    *,
    name: str | None,
    folder: str | None,
    inputs: str | Sequence[str] | None,
    label: str | None,
    vocabulary: int | None,
) -> None:
    """Checks that the package is installed and a data set is named.

    Raises:
        UserError: The package is missing, no data set is named, or the folder does not exist.
    """
    require_package("tensorflow_datasets", "tfds")
    if name is None:
        raise UserError("data.name must be that of a TensorFlow data set, such as mnist; type data.name=NAME")
    if folder is not None and not user_paths.is_dir(user_paths.expanded(folder)):
        raise UserError(f"data.folder must be an existing folder, got {folder}; check the path")


def tfds(
    *,
    name: str,
    folder: str | None,
    inputs: str | Sequence[str] | None,
    label: str | None,
    vocabulary: int | None,
) -> Source:
    """Returns the splits of a data set that have the names train, validation (or val) and test.

    Args:
        name: Of the data set, perhaps with configuration and version: NAME/CONFIG:VERSION.
        folder: Where it is prepared; None for ~/tensorflow_datasets.
        inputs: Key of the input, or keys of several; None for the only one beside the label.
        label: Key of the target; None without.
        vocabulary: Number of ids if the inputs are ids; None if they are measurements.

    Raises:
        UserError: The data set is not prepared there, has no training split, or lacks a key.
    """
    from tfscale.data.items import column, require_key, source_of_items

    where = f"data.name={name}"
    found = _read(name, folder, where)
    used = {class_folders.SPLITS[split]: part for split, part in found.items() if split in class_folders.SPLITS}
    if Split.TRAIN not in used:
        raise UserError(f"data: {where} must have a split train, got {', '.join(found)}; choose another data set")
    features = used[Split.TRAIN].dataset_info.features
    targets: dict[Split, np.ndarray] = {}
    if label is not None:
        require_key(dict.fromkeys(features), where, "label", label)
        targets = {split: column(part, label) for split, part in used.items()}
    others = [split for split in found if split not in class_folders.SPLITS]
    return source_of_items(
        used,
        where=where,
        inputs=inputs,
        label=label,
        vocabulary=vocabulary,
        targets=targets,
        class_names=None if label is None else getattr(features[label], "names", None),
        warnings=(f"{where} has splits that are not used: {', '.join(others)}",) if others else (),
    )


def _read(name: str, folder: str | None, where: str) -> dict[str, Any]:
    import tensorflow_datasets  # pyright: ignore[reportMissingImports]

    try:
        root = None if folder is None else str(user_paths.expanded(folder))
        return dict(tensorflow_datasets.data_source(name, data_dir=root, download=False))
    except Exception as error:
        raise UserError(
            f"{where} cannot be read by index ({first_line(error)}); prepare it with "
            f"tfds.builder({name!r}, file_format='array_record').download_and_prepare()"
        ) from error
