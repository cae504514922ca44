"""Tables of JSON documents that other commands write: evaluations and environments, whatever keys they have.

Numbers and texts of an object become one table of two columns; objects with equal keys (one for each class, say) and
lists of lists (a confusion matrix) become tables of their own. All of it is bounded: a document may be damaged.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from tfscale.report.results import short

MOST_TABLES = 60
MOST_ROWS = 200
MOST_COLUMNS = 60
DEEPEST = 6
LONGEST = 400
"""Characters of one cell."""

INLINE = 24
"""Elements of a list that one cell holds."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table.

    Attributes:
        title: Path of keys to it.
        header: Names of the columns; empty for a table of keys and values.
        rows: Cells as text.
    """

    title: str
    rows: Sequence[Sequence[str]]
    header: Sequence[str] = field(default_factory=tuple)


def tables_of(document: Mapping[str, object], title: str = "") -> list[Table]:
    """Returns the tables of a document, at most MOST_TABLES."""
    return list(islice(_tables(document, title, 0), MOST_TABLES))


def text(value: object) -> str:
    """One value as text."""
    if isinstance(value, float):
        return short(value) if abs(value) < 1e300 else str(value)
    if isinstance(value, list):
        shown = ", ".join(text(each) for each in value[:INLINE])
        return f"{shown}, … ({len(value):,} in all)" if len(value) > INLINE else shown
    if isinstance(value, dict):
        return ", ".join(f"{key}: {text(each)}" for key, each in islice(value.items(), INLINE))
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)[:LONGEST]


def _tables(document: Mapping[str, object], title: str, depth: int) -> Iterator[Table]:
    plain = [(str(key), text(value)) for key, value in document.items() if not _is_nested(value)]
    if plain:
        yield Table(title=title, rows=plain[:MOST_ROWS])
    for key, value in document.items():
        path = f"{title} › {key}" if title else str(key)
        if isinstance(value, dict) and value and depth < DEEPEST:
            yield from (
                [_of_objects(path, value)] if _are_alike(list(value.values())) else _tables(value, path, depth + 1)
            )
        elif _is_nested(value) and isinstance(value, list):
            yield _of_list(path, value)


def _is_nested(value: object) -> bool:
    """Returns whether a value has tables of its own."""
    return bool(value) and (
        isinstance(value, dict) or (isinstance(value, list) and all(isinstance(each, list | dict) for each in value))
    )


def _are_alike(values: Sequence[object]) -> bool:
    """Returns whether the values are objects without objects in them, and have the same keys."""
    return len(values) > 1 and all(
        isinstance(each, dict)
        and each.keys() == (values[0] if isinstance(values[0], dict) else {}).keys()
        and not any(_is_nested(part) for part in each.values())
        for each in values
    )


def _of_objects(title: str, objects: Mapping[str, object]) -> Table:
    first = next(iter(objects.values()))
    columns = list(islice(first, MOST_COLUMNS)) if isinstance(first, dict) else []
    rows = [
        [str(name), *(text(each.get(column)) for column in columns)]
        for name, each in islice(objects.items(), MOST_ROWS)
        if isinstance(each, dict)
    ]
    return Table(title=title, header=["", *map(str, columns)], rows=rows)


def _of_list(title: str, values: Sequence[object]) -> Table:
    if all(isinstance(each, dict) for each in values):
        columns = list(
            islice(dict.fromkeys(key for each in values if isinstance(each, dict) for key in each), MOST_COLUMNS)
        )
        rows = [
            [text(each.get(key)) if isinstance(each, dict) else "" for key in columns] for each in values[:MOST_ROWS]
        ]
        return Table(title=title, header=list(map(str, columns)), rows=rows)
    rows = [[text(part) for part in (each if isinstance(each, list) else [each])[:MOST_COLUMNS]] for each in values]
    return Table(title=title, rows=rows[:MOST_ROWS])
