"""Chooses a task by its name, or from the targets."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from tfscale.errors import UserError
from tfscale.specs import ArraySpec, ElementSpec
from tfscale.tasks.base import Task
from tfscale.tasks.binary import Binary
from tfscale.tasks.classification import Classification
from tfscale.tasks.dense_labels import NextToken, Segmentation, is_dense
from tfscale.tasks.multilabel import Multilabel
from tfscale.tasks.reconstruction import Reconstruction
from tfscale.tasks.regression import Regression
from tfscale.tasks.several import Several, target_specs

TASKS = {
    "classification": Classification,
    "binary": Binary,
    "multilabel": Multilabel,
    "regression": Regression,
    "reconstruction": Reconstruction,
    "segmentation": Segmentation,
    "next_token": NextToken,
}


def auto(spec: ElementSpec) -> Task:
    """Returns the task that the targets mean.

    No target: reconstruction. Several: a task for each. Measurements: regression. One class for each example, or a
    one-hot row: classification. A row of 0 and 1: multilabel. A row of ids for a row of ids: next_token. A picture of
    class numbers: segmentation.

    Args:
        spec: Of the data.

    Raises:
        UserError: The targets fit no task.
    """
    if spec.y is None:
        return Reconstruction(spec)
    if not isinstance(spec.y, ArraySpec):
        return several(spec, outputs={}, weights={})
    return TASKS[_automatic_name(spec.x, spec.y)](spec)


def _automatic_name(x: object, y: ArraySpec) -> str:
    if y.categories is None and not y.dtype.startswith("float"):
        raise UserError(
            f"the targets are {y.dtype}, whole numbers that are no class numbers from 0 to below a million; number the "
            "classes from 0, or type task=regression"
        )
    if y.categories is None:
        return "regression"
    if y.names is None and y.examples is not None and y.categories > max(y.examples, 2):
        raise UserError(
            f"the targets are whole numbers that would be {y.categories:,} classes and {y.examples:,} examples of "
            "them; type task=regression, or task=classification"
        )
    if y.one_hot or y.shape in ((), (1,)):
        return "classification"
    if is_dense(y, 2):
        return "segmentation"
    if isinstance(x, ArraySpec) and x.categories is not None and x.shape == y.shape:
        return "next_token"
    return "multilabel"


def several(
    spec: ElementSpec, *, outputs: Mapping[str, str | Literal["auto"]], weights: Mapping[str, float]
) -> Several:
    """Returns a task for each target.

    Args:
        spec: Of the data.
        outputs: Target -> name of its task; auto where it is not named.
        weights: Target -> factor of its loss; 1 where it is not named.

    Raises:
        UserError: There is only one target, or a name is that of no target or task.
    """
    targets = target_specs(spec)
    unknown = sorted(set(outputs) - set(targets))
    if unknown:
        raise UserError(f"task.outputs must name targets ({', '.join(targets)}), got {', '.join(unknown)}")
    tasks: dict[str, Task] = {}
    for name, target in targets.items():
        own, wanted = replace(spec, y=target), outputs.get(name, "auto")
        if wanted not in (*TASKS, "auto"):
            raise UserError(f"task.outputs.{name} must be one of {', '.join(TASKS)} or auto, got {wanted}")
        tasks[name] = auto(own) if wanted == "auto" else TASKS[wanted](own)
    return Several(tasks, weights)
