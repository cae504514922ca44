"""Reads CSV and Parquet files with pyarrow, which is imported when a table is read; names wrong lines."""

import codecs
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfscale import user_paths
from tfscale.errors import UserError, first_line

if TYPE_CHECKING:
    import pyarrow as pa

MOST_HEADER = 1 << 20
"""Bytes that the first line of a CSV file may have."""

ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")


@dataclass(frozen=True, kw_only=True)
class Part:
    """The rows of one file.

    Attributes:
        table: The rows.
        path: Of the file.
        skipped: Number of lines that were left out.
        header: Lines before the first row; None if rows have no line, as in Parquet.
        kept: Numbers of the rows among those that were read; None for all.
    """

    table: "pa.Table"
    path: Path
    skipped: int
    header: int | None
    kept: np.ndarray | None = None

    def name(self, index: int) -> str:
        """Returns the name of a row for messages."""
        if self.header is None or self.skipped:  # lines were left out: rows no longer number them
            return f"row {index + 1} of {self.path}"
        return f"line {index + 1 + self.header} of {self.path}"

    def column(self, name: str) -> np.ndarray:
        """Returns the cells of a column, [N]: numbers if they are written as Python writes them, otherwise text.

        So keys such as 007 stay what they are.

        Raises:
            UserError: There is no such column.
        """
        if name not in self.table.column_names:
            known = ", ".join(self.table.column_names)
            raise UserError(f"{self.path} must have a column {name}, got {known}; correct the name")
        if self.path.suffix == ".parquet" or is_text(self.table, name):
            values = self.table.column(name)
            if not is_text(self.table, name):
                return values.to_numpy()
            return np.asarray(["" if value is None else value for value in values.to_pylist()], dtype=np.str_)
        written = read(self.path, skip=True, as_text=[name]).table.column(name).to_pylist()
        kept = written if self.kept is None else [written[index] for index in self.kept]
        texts = np.asarray(["" if value is None else value for value in kept], dtype=np.str_)
        numbers = self.table.column(name).to_numpy()
        return numbers if np.array_equal(numbers.astype(np.str_), texts) else texts

    def rows(self, indices: Sequence[int]) -> "Part":
        """Returns the part with some of its rows."""
        chosen = np.asarray(indices, np.int64)
        return replace(self, table=self.table.take(chosen), kept=chosen if self.kept is None else self.kept[chosen])


def column_or_path(rows: Part | None, name: str, paths: Sequence[str], missing: str) -> np.ndarray:
    """Returns a column of the rows that name files, [N]; for the files of a folder their paths, called path.

    Args:
        rows: Of the table; None for a folder.
        name: Of the column.
        paths: Of the files.
        missing: The message for another column of a folder.

    Raises:
        UserError: There is no such column.
    """
    if rows is not None:
        return rows.column(name)
    if name != "path":
        raise UserError(missing)
    return np.asarray(paths)


def columns(key: str, file: str) -> Sequence[str]:
    """Returns the columns of a file, without reading it whole.

    Args:
        key: Of the file, for messages.
        file: Path as the user gave it.

    Raises:
        UserError: The file is missing, unreadable, or of another format.
    """
    path = user_paths.expanded(file)
    if not str(path).endswith(ENDINGS):
        raise UserError(f"{key} must end in {', '.join(ENDINGS)}, got {file}; convert it")
    if not user_paths.is_file(path):
        raise UserError(f"{key} must be an existing file, got {file}; check the path")
    user_paths.first_bytes(path, 1)  # names a file that may not be read
    names = _guarded(path, lambda: _names(path))
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{path} must have columns of different names, got {twice} more than once; rename one")
    return names


def require_columns(key: str, file: str, wanted: Mapping[str, str]) -> None:
    """Checks that a file exists and has columns.

    Args:
        key: Of the file, for messages.
        file: Path as the user gave it.
        wanted: Key of each column -> its name.

    Raises:
        UserError: The file is missing or lacks a column.
    """
    found = columns(key, file)
    for which, name in wanted.items():
        if name not in found:
            advice = ", or type data.label=null" if which == "label" else ""
            raise UserError(
                f"data.{which} must name a column of {key}={file} ({', '.join(found)}), got {name}; correct the name"
                f"{advice}"
            )


def _names(path: Path) -> Sequence[str]:
    import pyarrow as pa
    from pyarrow import csv, parquet

    if path.suffix == ".parquet":
        return parquet.read_schema(path).names
    with pa.input_stream(str(path)) as stream:  # decompresses by the file's ending
        header = stream.read(MOST_HEADER).partition(b"\n")[0]
    options = csv.ParseOptions(delimiter=_delimiter(path))
    return csv.read_csv(pa.BufferReader(header + b"\n"), parse_options=options).column_names


def _delimiter(path: Path) -> str:
    return "\t" if ".tsv" in path.suffixes else ","


def read(path: Path, *, skip: bool, undecoded: Sequence[str] = (), as_text: Sequence[str] = ()) -> Part:
    """Reads a file.

    Args:
        path: Of the file.
        skip: Whether lines with another number of cells are left out and counted, not an error.
        undecoded: Columns of text that are read as bytes, which need not be UTF-8; if there are any, no column need.
        as_text: Columns that are text, whatever their cells look like.

    Raises:
        UserError: The file cannot be read; the line is named.
    """
    if path.suffix == ".parquet":
        from pyarrow import parquet

        return Part(table=_guarded(path, lambda: parquet.read_table(path)), path=path, skipped=0, header=None)
    return _guarded(path, lambda: _csv(path, skip, undecoded, as_text))


def _check_utf8(path: Path) -> None:
    """Names the first line that is not UTF-8: pyarrow would take its column for binary data."""
    import pyarrow as pa

    decoder, line = codecs.getincrementaldecoder("utf-8")(), 1
    with pa.input_stream(str(path)) as stream:
        while True:
            chunk = stream.read(1 << 20)
            try:
                line += decoder.decode(chunk, final=not chunk).count("\n")
            except UnicodeDecodeError as error:
                line += chunk[: error.start].count(b"\n")
                raise UserError(f"line {line} of {path} must be UTF-8; convert the file") from None
            if not chunk:
                return


def _csv(path: Path, skip: bool, undecoded: Sequence[str], as_text: Sequence[str]) -> Part:
    import pyarrow as pa
    from pyarrow import csv

    if not undecoded:
        _check_utf8(path)
    wrong: list[Any] = []

    def invalid(row: Any) -> str:
        wrong.append(row)
        return "skip"

    table = csv.read_csv(
        path,
        read_options=csv.ReadOptions(use_threads=False),  # numbers the lines of invalid rows
        parse_options=csv.ParseOptions(delimiter=_delimiter(path), invalid_row_handler=invalid),
        convert_options=csv.ConvertOptions(
            strings_can_be_null=True,
            column_types={**dict.fromkeys(undecoded, pa.binary()), **dict.fromkeys(as_text, pa.string())},
        ),
    )
    if wrong and not skip:
        row = wrong[0]
        raise UserError(
            f"line {row.number} of {path} must have {row.expected_columns} cells, got {row.actual_columns}; correct "
            "it, or type data.on_error=skip"
        )
    if not table.num_rows:
        raise UserError(f"{path} must have at least one row, got none; check the file")
    return Part(table=table, path=path, skipped=len(wrong), header=1)


def is_text(table: "pa.Table", name: str) -> bool:
    """Returns whether a column holds text."""
    import pyarrow.types as types

    kind = table.schema.field(name).type
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return types.is_string(kind) or types.is_large_string(kind)


def is_empty(part: Part, name: str) -> np.ndarray:
    """Returns whether each cell of a column is empty, [N]; NaN is."""
    return part.table.column(name).is_null(nan_is_null=True).to_numpy()


def target(part: Part, name: str) -> np.ndarray:
    """Returns a column as targets, [N]: class names or numbers, or measurements.

    Raises:
        UserError: A cell is empty, or the column holds something else.
    """
    column, empty = part.table.column(name), is_empty(part, name)
    if empty.any():
        raise UserError(f"data: label {name} is empty in {part.name(int(empty.argmax()))}; leave such lines out")
    if is_text(part.table, name):
        return np.asarray(column.to_pylist(), dtype=np.str_)
    values = column.to_numpy()
    if values.dtype.kind not in "biuf":
        raise UserError(f"data: label {name} must be numbers or text, got {column.type}; choose another column")
    return values


def _guarded(path: Path, function: Callable[[], Any]) -> Any:
    """Calls a function that reads; turns its errors into one message."""
    try:
        return function()
    except ImportError:
        raise UserError("tables need the package pyarrow; type: pip install pyarrow") from None
    except PermissionError as error:
        raise user_paths.unreadable(path, error) from None
    except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are ValueErrors or OSErrors
        raise UserError(f"{path} cannot be read ({first_line(error)}); write it again") from None
