"""Chooses the suites of an output by its task; names that do not fit are refused."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from tfscale.errors import UserError
from tfscale.evaluation.base import Suite
from tfscale.evaluation.binary import Binary
from tfscale.evaluation.calibration import Calibration
from tfscale.evaluation.classification import Classification
from tfscale.evaluation.multilabel import Multilabel
from tfscale.evaluation.regression import Regression
from tfscale.evaluation.roc import Roc

MOST_IN_ROC = 200
"""Classes up to which `auto` stores the scores that exact curves need."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """An output of a model, and what the user wants of its suites.

    Attributes:
        task: Name of its task.
        units: Length of its last axis.
        names: Of its classes, where the data have names.
        threshold: For binary and multilabel outputs.
        top_k: For several classes.
    """

    task: str
    units: int
    names: Sequence[str] | None
    threshold: float
    top_k: int


Make: TypeAlias = Callable[[Output], Suite]

FITTING: Mapping[str, Mapping[str, Make]] = MappingProxyType(
    {
        "classification": {
            "classification": lambda each: Classification(classes=each.units, names=each.names, top_k=each.top_k),
            "roc": lambda each: Roc(columns=each.units, names=each.names, targets="classes"),
            "calibration": lambda each: Calibration(columns=each.units, targets="classes"),
        },
        "binary": {
            "binary": lambda each: Binary(threshold=each.threshold, names=each.names),
            "roc": lambda each: Roc(columns=1, names=None, targets="labels"),
            "calibration": lambda each: Calibration(columns=1, targets="labels"),
        },
        "multilabel": {
            "multilabel": lambda each: Multilabel(labels=each.units, threshold=each.threshold),
            "roc": lambda each: Roc(columns=each.units, names=None, targets="labels"),
            "calibration": lambda each: Calibration(columns=each.units, targets="labels"),
        },
        "regression": {"regression": lambda each: Regression(columns=each.units)},
        "reconstruction": {"regression": lambda each: Regression(columns=1)},
        "segmentation": {
            "classification": lambda each: Classification(classes=each.units, names=each.names, top_k=None)
        },
        "next_token": {"classification": lambda each: Classification(classes=each.units, names=each.names, top_k=None)},
    }
)
"""Task -> the suites that fit it."""


def suites_of(outputs: Mapping[str, Output], wanted: Sequence[str] | None) -> dict[str, dict[str, Suite]]:
    """Returns the suites of each output by name.

    Args:
        outputs: By name; "" if there is only one.
        wanted: Names of suites; None for those that the tasks mean.

    Raises:
        UserError: A suite fits no output.
    """
    fitting = {name: FITTING.get(each.task, {}) for name, each in outputs.items()}
    possible = list(dict.fromkeys(suite for suites in fitting.values() for suite in suites))
    unknown = [name for name in wanted or () if name not in possible]
    if unknown:
        tasks = " and ".join(dict.fromkeys(each.task for each in outputs.values()))
        fits = (
            f"one of {', '.join(possible)} for task={tasks}" if possible else f"auto, as no suite is for task={tasks}"
        )
        raise UserError(f"evaluation must be {fits}, got {unknown[0]}; leave it out to choose by the task")
    return {
        name: {
            suite: make(outputs[name])
            for suite, make in suites.items()
            if (suite in wanted if wanted is not None else suite != "roc" or outputs[name].units <= MOST_IN_ROC)
        }
        for name, suites in fitting.items()
    }
