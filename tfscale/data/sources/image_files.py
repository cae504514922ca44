"""Finds images, by folders of classes or by a table of paths and labels, and names rows without one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfscale import user_paths
from tfscale.data import checksums
from tfscale.data.base import Split
from tfscale.data.sources import class_folders, table_files
from tfscale.errors import UserError, first_line

ENDINGS = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images of a split.

    Attributes:
        paths: Of the files.
        targets: [N] class names or numbers, or measurements; None without labels.
        names: Of each image, for messages.
        keys: Path and label of each, for the digest.
        skipped: Number of images that were left out.
        rows: Of the table that names them; None for a folder.
    """

    paths: Sequence[Path]
    targets: np.ndarray | None
    names: Sequence[str]
    keys: Sequence[str]
    skipped: int = 0
    rows: table_files.Part | None = None

    def only(self, indices: Sequence[int]) -> "Images":
        """Returns some of the images; the others count as left out."""
        return Images(
            paths=[self.paths[index] for index in indices],
            targets=None if self.targets is None else self.targets[list(indices)],
            names=[self.names[index] for index in indices],
            keys=[self.keys[index] for index in indices],
            skipped=self.skipped + len(self.paths) - len(indices),
            rows=None if self.rows is None else self.rows.rows(indices),
        )

    def column(self, name: str) -> np.ndarray:
        """Returns a column of the table, [N]; `path` for the images of a folder.

        Raises:
            UserError: There is no such column.
        """
        missing = f"images of a folder have no column {name}; use path, or data.table"
        return table_files.column_or_path(self.rows, name, [str(path) for path in self.paths], missing)


def from_folder(folder: str, *, labelled: bool) -> dict[Split, Images]:
    """Returns the images of a folder.

    Args:
        folder: As the user gave it.
        labelled: Whether there is a folder for each class; otherwise every image below counts, without a class.

    Raises:
        UserError: The folder is missing, or has no images, or too few classes.
    """
    root = user_paths.expanded(folder)
    if not labelled:
        unlabelled = class_folders.unlabelled(folder, ENDINGS)
        return {
            split: Images(
                paths=paths,
                targets=None,
                names=[str(path) for path in paths],
                keys=[str(path.relative_to(root)) for path in paths],
            )
            for split, paths in unlabelled.items()
        }
    classes, files = class_folders.found(folder, ENDINGS, "images")
    return {
        split: Images(
            paths=[path for path, _ in each],
            targets=np.asarray([classes[index] for _, index in each], np.str_),
            names=[str(path) for path, _ in each],
            keys=[f"{path.relative_to(root)} {index}" for path, index in each],
        )
        for split, each in files.items()
    }


def from_tables(
    tables: Mapping[Split, tuple[str, str]], folder: str | None, path: str, label: str | None, *, skip: bool
) -> dict[Split, Images]:
    """Returns the images that tables name.

    Args:
        tables: Key and path of each split's table.
        folder: Folder that paths begin in, as the user gave it; None for that of each table.
        path: Column of paths.
        label: Column of labels; None without.
        skip: Whether rows without an image or a label are left out and counted.

    Raises:
        UserError: A folder, a table, a column, an image or a label is missing; the row is named.
    """
    wanted = {"path": path} | ({} if label is None else {"label": label})
    for key, file in tables.values():
        table_files.require_columns(key, file, wanted)
    root = None if folder is None else class_folders.existing(folder)
    return {
        split: _from_table(user_paths.expanded(file), root, path, label, skip) for split, (_, file) in tables.items()
    }


def _from_table(file: Path, root: Path | None, path: str, label: str | None, skip: bool) -> Images:
    checksums.verify(file)
    part = table_files.read(file, skip=skip)
    begin, cells = root or file.parent, _cells(part, path)
    faults = [_fault(begin, cell) for cell in cells]
    wrong = next((index for index, fault in enumerate(faults) if fault is not None), None)
    if wrong is not None and not skip:
        raise UserError(f"{part.name(wrong)} {faults[wrong]}, or type data.on_error=skip")
    sound = np.asarray([fault is None for fault in faults])
    if label is not None and skip:
        sound &= ~table_files.is_empty(part, label)
    kept = [int(index) for index in np.flatnonzero(sound)]
    if not kept:
        raise UserError(f"{file} must have rows with an image and a label, got none; check data.path and data.folder")
    rows = part if len(kept) == len(cells) else part.rows(kept)
    targets = None if label is None else table_files.target(rows, label)
    texts = [str(cells[index]) for index in kept]
    return Images(
        paths=[begin / text for text in texts],
        targets=targets,
        names=[f"{begin / text} ({part.name(index)})" for index, text in zip(kept, texts, strict=True)],
        keys=texts if targets is None else [f"{text} {each}" for text, each in zip(texts, targets, strict=True)],
        skipped=part.skipped + len(cells) - len(kept),
        rows=rows,
    )


def _cells(part: table_files.Part, name: str) -> list[str | None]:
    if not table_files.is_text(part.table, name):
        raise UserError(
            f"data.path must be a column of text, got {name} of {part.table.schema.field(name).type}; choose another "
            "column"
        )
    return part.table.column(name).to_pylist()


def _fault(root: Path, cell: str | None) -> str | None:
    """Returns what is wrong with a path, and what to do; None if there is a file."""
    if not cell:
        return "has no path; give it one"
    try:
        is_file = user_paths.is_file(root / cell)
    except UserError as error:  # a name that is too long, or a folder without permission
        return f"names what cannot be read: {first_line(error)}"
    return None if is_file else f"names {root / cell}, which is no file; correct the path"
