"""Folders with a folder of files for each class, perhaps below train/, validation/ and test/: of images or of texts."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tfscale import user_paths
from tfscale.data.base import Split
from tfscale.errors import UserError

SPLITS = {"train": Split.TRAIN, "validation": Split.VALIDATION, "val": Split.VALIDATION, "test": Split.TEST}
"""Folders that hold a split."""


def parts(root: Path) -> dict[Split, Path]:
    """Returns the folder of each split: the folder itself holds the training files if it has no train/."""
    found = {SPLITS[path.name]: path for path in user_paths.folders_in(root) if path.name in SPLITS}
    return found if Split.TRAIN in found else {Split.TRAIN: root}


def existing(folder: str) -> Path:
    """Returns the path of a folder, as the user gave it.

    Raises:
        UserError: It does not exist.
    """
    root = user_paths.expanded(folder)
    if not user_paths.is_dir(root):
        raise UserError(f"data.folder must be an existing folder, got {folder}; check the path")
    return root


def unlabelled(folder: str, endings: Sequence[str]) -> dict[Split, list[Path]]:
    """Returns the files of each split, whatever folder they are in.

    Args:
        folder: As the user gave it.
        endings: Of the files.

    Raises:
        UserError: The folder is missing, or has no such files for training.
    """
    folders = parts(existing(folder))
    found = {split: list(files(part, endings)) for split, part in folders.items()}
    if not found[Split.TRAIN]:
        raise UserError(f"{folders[Split.TRAIN]} must have {', '.join(endings)} files, got none; check data.folder")
    return {split: each for split, each in found.items() if each}


def found(folder: str, endings: Sequence[str], what: str) -> tuple[list[str], dict[Split, list[tuple[Path, int]]]]:
    """Returns the classes, and the path and class number of every file of each split.

    Args:
        folder: As the user gave it.
        endings: Of the files.
        what: The files, for messages.

    Raises:
        UserError: The folder is missing or has fewer than two classes, or a class of another split has no training
            files.
    """
    folders = parts(existing(folder))
    train = folders[Split.TRAIN]
    classes = [path.name for path in sorted(user_paths.folders_in(train)) if any(files(path, endings))]
    if len(classes) < 2:
        raise UserError(
            f"{train} must have a folder of {', '.join(endings)} files for each of at least 2 classes, got "
            f"{len(classes)}; sort the {what} into folders"
        )
    labelled = {split: list(_labelled(part, classes, endings, what)) for split, part in folders.items()}
    return classes, {split: each for split, each in labelled.items() if each}


def files(folder: Path, endings: Sequence[str]) -> Iterator[Path]:
    """Returns the files below a folder, sorted."""
    return (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in endings)


def _labelled(part: Path, classes: Sequence[str], endings: Sequence[str], what: str) -> Iterator[tuple[Path, int]]:
    for folder in sorted(user_paths.folders_in(part)):
        own = list(files(folder, endings))
        if own and folder.name not in classes:
            raise UserError(
                f"{folder} is the class {folder.name!r}, which has no training {what}; add some, or take the folder "
                "away"
            )
        yield from ((path, classes.index(folder.name)) for path in own)
