"""Reads texts, from .txt files or from a column of a table, and names those that are not UTF-8."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tfscale import user_paths
from tfscale.data import checksums
from tfscale.data.base import Split
from tfscale.data.sources import class_folders, table_files
from tfscale.errors import UserError

ENDINGS = (".txt",)


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The texts of a split.

    Attributes:
        texts: UTF-8.
        targets: [N] class names or numbers, or measurements; empty without a label.
        names: Of each text, for messages.
        skipped: Number of texts that were left out.
        rows: Of the table that has them; None for files.
    """

    texts: Sequence[bytes]
    targets: np.ndarray
    names: Sequence[str]
    skipped: int
    rows: table_files.Part | None = None

    def column(self, name: str) -> np.ndarray:
        """Returns a column of the table, [N]; `path` for files.

        Raises:
            UserError: There is no such column.
        """
        missing = f"texts of a folder have no column {name}; use path, or a table"
        return table_files.column_or_path(self.rows, name, self.names, missing)


def paths(folder: str, *, labelled: bool) -> dict[Split, list[tuple[Path, str | None]]]:
    """Returns the path and class name of each file of each split.

    Args:
        folder: As the user gave it.
        labelled: Whether there is a folder for each class; otherwise every .txt file below counts, without a class.

    Raises:
        UserError: The folder is missing, or has no such files.
    """
    if labelled:
        classes, files = class_folders.found(folder, ENDINGS, "texts")
        return {split: [(path, classes[index]) for path, index in each] for split, each in files.items()}
    unlabelled = class_folders.unlabelled(folder, ENDINGS)
    return {split: [(path, None) for path in each] for split, each in unlabelled.items()}


def from_folder(folder: str, *, labelled: bool, skip: bool) -> dict[Split, Texts]:
    """Reads the files of a folder; see `paths`.

    Args:
        folder: As the user gave it.
        labelled: Whether there is a folder for each class.
        skip: Whether files that are not UTF-8 are left out and counted.

    Raises:
        UserError: A file cannot be read or is not UTF-8; its line is named.
    """
    return {split: _from_files(files, skip) for split, files in paths(folder, labelled=labelled).items()}


def _from_files(files: Sequence[tuple[Path, str | None]], skip: bool) -> Texts:
    texts, kept = [], []
    for path, name in files:
        checksums.verify(path)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise user_paths.unreadable(path, error) from None
        line = _wrong_line(content)
        if line is None:
            texts.append(content)
            kept.append((path, name))
        elif not skip:
            raise UserError(f"line {line} of {path} must be UTF-8; convert the file, or type data.on_error=skip")
    if not kept:
        raise UserError(f"{files[0][0]} and all other texts of its split are not UTF-8; convert them")
    classes = [name for _, name in kept if name is not None]
    return Texts(
        texts=texts,
        targets=np.asarray(classes, np.str_),
        names=[str(path) for path, _ in kept],
        skipped=len(files) - len(kept),
    )


def _wrong_line(content: bytes) -> int | None:
    """Returns the number of the first line that is not UTF-8."""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return 1 + content[: error.start].count(b"\n")
    return None


def from_tables(
    files: Mapping[Split, tuple[str, str]], text: str, label: str | None, *, skip: bool
) -> dict[Split, Texts]:
    """Reads columns of tables.

    Args:
        files: Key and path of each split's table.
        text: Column of the texts.
        label: Column of the labels; None without.
        skip: Whether rows that are not UTF-8 or lack a label are left out and counted.

    Raises:
        UserError: A file or row cannot be read; it is named.
    """
    return {split: _from_table(user_paths.expanded(file), text, label, skip) for split, (_, file) in files.items()}


def _from_table(path: Path, text: str, label: str | None, skip: bool) -> Texts:
    checksums.verify(path)
    part = table_files.read(path, skip=skip, undecoded=[text] if skip else ())
    if skip:
        part = _sound(part, text, label)
    texts = list(_bytes(part, text))
    wrong = next((index for index, each in enumerate(texts) if _wrong_line(each or b"") is not None), None)
    if wrong is not None:
        raise UserError(f"{part.name(wrong)} must be UTF-8; convert the file, or type data.on_error=skip")
    return Texts(
        texts=[each or b"" for each in texts],
        targets=np.asarray([]) if label is None else table_files.target(part, label),
        names=[part.name(index) for index in range(len(texts))],
        skipped=part.skipped,
        rows=part,
    )


def _sound(part: table_files.Part, text: str, label: str | None) -> table_files.Part:
    """Returns the rows whose text and label are there and UTF-8."""
    import pyarrow as pa
    import pyarrow.types as types

    sound = np.asarray([_wrong_line(each or b"") is None for each in _bytes(part, text)])
    table = part.table
    if label is not None and types.is_binary(table.schema.field(label).type):  # a wrong byte made the column binary
        sound &= np.asarray([each is not None and _wrong_line(each) is None for each in _bytes(part, label)])
        table = table.filter(pa.array(sound))
        table = table.set_column(table.column_names.index(label), label, table.column(label).cast(pa.string()))
    else:
        sound &= True if label is None else table.column(label).is_valid().to_numpy()
        table = table.filter(pa.array(sound))
    if not table.num_rows:
        raise UserError(f"{part.path} must have rows of UTF-8 with a text and a label, got none; check the file")
    kept = np.flatnonzero(sound)
    return replace(part, table=table, skipped=part.skipped + int((~sound).sum()), kept=kept)


def _bytes(part: table_files.Part, name: str) -> Iterator[bytes | None]:
    """Returns the cells of a column of text; None for empty ones."""
    import pyarrow as pa
    import pyarrow.types as types

    column = part.table.column(name)
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not (table_files.is_text(part.table, name) or types.is_binary(column.type) or types.is_null(column.type)):
        raise UserError(f"data.text must be a column of text, got {name} of {column.type}; choose another column")
    return (each.as_py() for each in column.cast(pa.binary()))
