"""Divides the examples of a split by their class or by an input column, for `evaluation.by`."""

from collections.abc import Sequence

import numpy as np

from tfscale.data.base import Data, Split
from tfscale.data.pipeline import IndexedData
from tfscale.errors import UserError
from tfscale.specs import ArraySpec, leaves
from tfscale.tasks.base import Task
from tfscale.training.scored_pass import Slices

TARGET = "target"
"""Value of `evaluation.by` that means the class."""

MOST_SLICES = 100
AT_ONCE = 4096
"""Examples that are read together."""


def slices_of(by: str, data: Data, task: Task, split: Split) -> Slices:
    """Returns the slices of a split, the same in every process.

    Args:
        by: `target`, a column of the inputs, or one of which the inputs have a column for each category.
        data: Has the examples.
        task: Of the data.
        split: What is divided.

    Raises:
        UserError: There is no such column, it has too many values, or two slices would have one name.
    """
    columns = _columns(data)
    if by == TARGET:
        return _by_target(data, task)
    groups = {name: index for index, name in enumerate(columns) if name == by}
    indicators = {name.removeprefix(f"{by}="): index for index, name in enumerate(columns) if name.startswith(f"{by}=")}
    if not isinstance(data, IndexedData) or not (groups or indicators):
        names = dict.fromkeys(name.partition("=")[0] for name in columns)
        has = f"{TARGET} or a column ({', '.join(names)})" if names else f"{TARGET}, as these data name no columns"
        raise UserError(f"evaluation.by must be {has}, got {by}; leave it out for no slices")
    if indicators:
        positions = _read(data, split, list(indicators.values()))
        return Slices(values=tuple(indicators), of=np.argmax(positions, axis=1))
    values = _read(data, split, [groups[by]])[:, 0]
    present, of = np.unique(values, return_inverse=True)
    if len(present) > MOST_SLICES:
        raise UserError(
            f"evaluation.by={by} must have at most {MOST_SLICES} values, got {len(present):,}; choose another column, "
            f"or start a run with data.categorical=[{by}] if its values are categories"
        )
    return Slices(values=names_of_numbers(present), of=of)


def names_of_numbers(values: np.ndarray) -> tuple[str, ...]:
    """Returns a name for each number: 12 digits, or all of them where 12 are the same for two numbers."""
    short = ["missing" if np.isnan(each) else f"{each:.12g}" for each in values]
    return tuple(repr(float(each)) if short.count(name) > 1 else name for each, name in zip(values, short, strict=True))


def _columns(data: Data) -> tuple[str, ...]:
    x = data.spec.x
    is_table = isinstance(x, ArraySpec) and len(x.shape) == 1 and x.categories is None
    return (x.names or ()) if is_table and isinstance(x, ArraySpec) else ()


def _read(data: IndexedData, split: Split, columns: list[int]) -> np.ndarray:
    """Returns columns [N, n] as the source has them."""
    total = data.sizes[split]
    parts = []
    for start in range(0, total, AT_ONCE):
        x = leaves(data.raw_inputs(split, start, min(total, start + AT_ONCE)))[""]
        parts.append(np.asarray(x)[:, columns].astype(np.float64))
    return np.concatenate(parts)


def _by_target(data: Data, task: Task) -> Slices:
    target = data.spec.y
    if task.name not in ("classification", "binary") or not isinstance(target, ArraySpec):
        raise UserError(
            f"evaluation.by={TARGET} needs one class for each example, and this is task={task.name}; name a column"
        )
    classes = target.shape[-1] if target.one_hot else target.categories or 2
    names = target.names or tuple(map(str, range(classes)))
    if classes > MOST_SLICES:
        raise UserError(
            f"evaluation.by={TARGET} must have at most {MOST_SLICES} classes, got {classes:,}; leave it out"
        )
    return Slices(values=names_of_classes(names), of=None)


def names_of_classes(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of classes; those that several classes share get the number of the class: cat (3)."""
    made = tuple(f"{name} ({index})" if names.count(name) > 1 else name for index, name in enumerate(names))
    if len(set(made)) < len(made):
        raise UserError(
            f"evaluation.by={TARGET} must have a name of its own for each class, got {', '.join(names)}; rename classes"
        )
    return made
