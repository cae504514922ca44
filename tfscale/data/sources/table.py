"""Source for tables: CSV and Parquet files, read by pyarrow.

Columns of numbers are features as they are, and columns of text, or those that `categorical` names, become one column
of 0 and 1 for each category of the training file. Nothing is guessed about a value that does not fit: it is named with
its column and line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tfscale import user_paths
from tfscale.data import checksums
from tfscale.data.base import Arrays, Split
from tfscale.data.encoding import Columns
from tfscale.data.preprocessing import Preprocessing, class_names
from tfscale.data.sources import table_files
from tfscale.errors import UserError
from tfscale.specs import ArraySpec

MOST_CATEGORIES = 1000
"""Categories of a column; more would be columns of an unreasonable model."""

MISSING = "(missing)"
"""Name of the category of empty cells of text."""


@dataclass(frozen=True, kw_only=True)
class _Roles:
    """Roles of the columns.

    Attributes:
        labels: Columns to predict.
        features: Columns that the model sees.
        categorical: Columns of `features` that name categories.
        weight: Column of weights; None without.
    """

    labels: Sequence[str]
    features: Sequence[str]
    categorical: frozenset[str]
    weight: str | None


def check(
    *,
    file: str | None,
    label: str | list[str] | None,
    features: list[str] | None,
    categorical: list[str],
    weight: str | None,
    validation_file: str | None,
    test_file: str | None,
    on_error: str,
) -> None:
    """Checks that the files exist and have the columns.

    Raises:
        UserError: A file is missing or unreadable, or lacks a column.
    """
    if file is None:
        raise UserError("data.file must be a .csv or .parquet file for data=table; type data.file=PATH")
    for key, each in (("file", file), ("validation_file", validation_file), ("test_file", test_file)):
        if each is not None:
            columns = table_files.columns(f"data.{key}", each)
            _roles(columns, f"data.{key}={each}", label, features, categorical, weight)


def _roles(
    columns: Sequence[str],
    where: str,
    label: str | list[str] | None,
    features: list[str] | None,
    categorical: Sequence[str],
    weight: str | None,
) -> _Roles:
    labels = [] if label is None else [label] if isinstance(label, str) else list(label)
    wanted = {
        "label": labels,
        "features": features or [],
        "categorical": categorical,
        "weight": [weight] if weight else [],
    }
    for key, names in wanted.items():
        unknown = [name for name in names if name not in columns]
        if unknown:
            raise UserError(
                f"data.{key} must name columns of {where} ({', '.join(columns)}), got {unknown[0]}; correct the name"
            )
    others = [name for name in columns if name not in labels and name != weight]
    chosen = others if features is None else features
    both = [name for name in chosen if name in labels]
    if both:
        raise UserError(f"data.features must not have the label {both[0]}, which is to be predicted; leave it out")
    if not chosen:
        raise UserError(f"data.features must name at least one column of {where}, got none; name some")
    return _Roles(labels=labels, features=chosen, categorical=frozenset(categorical), weight=weight)


def table(
    *,
    file: str,
    label: str | list[str] | None,
    features: list[str] | None,
    categorical: list[str],
    weight: str | None,
    validation_file: str | None,
    test_file: str | None,
    on_error: Literal["error", "skip"],
    learned: Preprocessing | None = None,
) -> Arrays:
    """Returns x [N, columns] float64 and the label columns: numbers, names, or [N, labels] if all are numbers.

    With `learned`, of the run that reads the table later, it has the run's columns and categories.

    Raises:
        UserError: A line, a cell or a column cannot be used.
    """
    files = {Split.TRAIN: file, Split.VALIDATION: validation_file, Split.TEST: test_file}
    paths = {split: user_paths.expanded(name) for split, name in files.items() if name is not None}
    for path in paths.values():
        checksums.verify(path)
    known = None if learned is None or not isinstance(learned.encoding, Columns) else learned.encoding.categories
    texts = [name for name, each in (known or {}).items() if each is not None]
    texts += [] if label is None or class_names(learned) is None else [label] if isinstance(label, str) else label
    read = {split: table_files.read(path, skip=on_error == "skip", as_text=texts) for split, path in paths.items()}
    first = read[Split.TRAIN]
    names = first.table.column_names
    features = features if known is None else list(known)
    weight = weight if learned is None or weight in names else None
    roles = _roles(names, str(paths[Split.TRAIN]), label, features, [] if known else categorical, weight)
    categories = (
        _all_categories(first, roles) if known is None else {name: each for name, each in known.items() if each}
    )
    columns = tuple(
        each
        for name in roles.features
        for each in ([f"{name}={category}" for category in categories[name]] if name in categories else [name])
    )
    fill = learned is not None
    x = {split: _matrix(part, roles.features, categories, may_be_empty=fill) for split, part in read.items()}
    y = {split: _targets(part, roles.labels, learned) for split, part in read.items()}
    return Arrays(
        x[Split.TRAIN],
        y[Split.TRAIN],
        x.get(Split.TEST),
        y.get(Split.TEST),
        x_validation=x.get(Split.VALIDATION),
        y_validation=y.get(Split.VALIDATION),
        weight=None if roles.weight is None else _numbers(first, roles.weight),
        columns=columns,
        names=lambda split, index: read[split].name(index),
        skipped=sum(part.skipped for part in read.values()),
        encoding=Columns(
            categories={name: tuple(categories[name]) if name in categories else None for name in roles.features}
        ),
        warnings=() if learned is not None else _warnings(categories, first.table.num_rows),
        column=lambda split, name: read[split].column(name),
    )


def _warnings(categories: Mapping[str, Sequence[str]], rows: int) -> tuple[str, ...]:
    """Returns a sentence for each column that names rows rather than categories of them."""
    return tuple(
        f"column {name} has {len(each):,} different texts in {rows:,} rows, and each becomes an input; leave it out by "
        "data.features, or keep it for predict.keys"
        for name, each in categories.items()
        if len(each) > max(20, rows / 2)
    )


def _all_categories(part: table_files.Part, roles: _Roles) -> dict[str, Sequence[str]]:
    """Returns the categories of each column that has some."""
    return {
        name: _categories(part, name, named=name in roles.categorical)
        for name in roles.features
        if table_files.is_text(part.table, name) or name in roles.categorical
    }


def _categories(part: table_files.Part, name: str, *, named: bool) -> list[str]:
    """Returns the categories of a column of the training file, sorted; `named` if the user says that it has some."""
    values = _texts(part, name)
    found = sorted(set(values))
    numbers = [value for value in found if _is_number(value)]
    if not named and len(found) > 2 and len(numbers) > len(found) / 2 and table_files.is_text(part.table, name):
        odd = next((value for value in found if not _is_number(value)), found[0])  # "1_0" is one to Python alone
        index = values.index(odd)
        raise UserError(
            f"data: column {name} must be numbers or categories, got {odd!r} in {part.name(index)} among numbers; "
            f"correct it, or type data.categorical=[{name}]"
        )
    if len(found) > MOST_CATEGORIES:
        raise UserError(
            f"data: column {name} must have at most {MOST_CATEGORIES:,} categories, got {len(found):,}; leave it out "
            "by data.features"
        )
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _texts(part: table_files.Part, name: str) -> list[str]:
    return [MISSING if value is None else str(value) for value in part.table.column(name).to_pylist()]


def _matrix(
    part: table_files.Part, features: Sequence[str], categories: Mapping[str, Sequence[str]], *, may_be_empty: bool
) -> np.ndarray:
    blocks = []
    for name in features:
        if name in categories:
            blocks.append(_indicators(part, name, categories[name]))
        else:
            blocks.append(_numbers(part, name, may_be_empty=may_be_empty)[:, np.newaxis])
    return np.concatenate(blocks, axis=1)


def _indicators(part: table_files.Part, name: str, categories: Sequence[str]) -> np.ndarray:
    """Returns [N, categories], 1 where a row has the category."""
    place = {category: index for index, category in enumerate(categories)}
    values = _texts(part, name)
    unknown = next((index for index, value in enumerate(values) if value not in place), None)
    if unknown is not None:
        raise UserError(
            f"data: column {name} has {values[unknown]!r} in {part.name(unknown)}, which no line of the training file "
            "has; add one there, or leave this line out"
        )
    block = np.zeros((len(values), len(categories)))
    block[np.arange(len(values)), [place[value] for value in values]] = 1
    return block


def _numbers(part: table_files.Part, name: str, *, may_be_empty: bool = False) -> np.ndarray:
    """Returns a column as [N] float64; an empty cell is NaN."""
    import pyarrow as pa
    import pyarrow.types as types

    column = part.table.column(name)
    if types.is_null(column.type) and may_be_empty:  # every cell is
        return np.full(len(column), np.nan)
    if types.is_boolean(column.type):
        column = column.cast(pa.int8())
    if not (types.is_integer(column.type) or types.is_floating(column.type) or types.is_decimal(column.type)):
        raise UserError(
            f"data: column {name} must be numbers or text, got {column.type}; leave it out by data.features"
        )
    return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _targets(part: table_files.Part, labels: Sequence[str], learned: Preprocessing | None) -> Any:
    """Returns the targets: an array, or a dictionary of arrays for labels of different kinds."""
    parts = {name: table_files.target(part, name) for name in labels}
    if not parts:
        return None
    if len(parts) == 1:
        return parts[labels[0]]
    if learned is not None:  # the values of few rows may look like another kind
        target, numbers = learned.spec.y, all(array.dtype.kind in "biuf" for array in parts.values())
        if not isinstance(target, ArraySpec) or not numbers:
            return parts
        return np.stack([array.astype(target.dtype) for array in parts.values()], axis=1)
    kinds = {array.dtype.kind for array in parts.values()}
    if kinds <= {"f"} or (kinds <= set("biu") and all(set(np.unique(array)) <= {0, 1} for array in parts.values())):
        return np.stack(list(parts.values()), axis=1)
    return parts
