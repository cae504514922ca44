"""Builds the data and the task of a configuration."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tfscale.config.checks import AUTO, is_reserved
from tfscale.config.instantiate import instantiate, named_function, takes
from tfscale.config.schemas.common import own_options, pipeline_of
from tfscale.config.schemas.config import Config
from tfscale.config.schemas.data import PYTHON, SCHEMAS, Pipeline
from tfscale.data import normalize, preprocessing
from tfscale.data.arrays import source_of
from tfscale.data.augment import Augmentation
from tfscale.data.balance import class_weights
from tfscale.data.base import Arrays, Data, Source, Split
from tfscale.data.pipeline import IndexedData
from tfscale.data.preprocessing import Preprocessing
from tfscale.data.sequential import SequentialData
from tfscale.data.splits import Held, hold_out
from tfscale.errors import UserError
from tfscale.specs import ElementSpec
from tfscale.tasks.base import Measure, Task
from tfscale.tasks.override import Overridden, output_of

OWN_DATA = {
    "validation": None,
    "test": None,
    "stratify": False,
    "normalize": "auto",
    "class_weight": None,
    "augment": [],
}
"""Keys of the pipeline that data of the user's own does not go through, and the values that change nothing."""


@dataclass(frozen=True, kw_only=True)
class BuiltData:
    """The data of a configuration.

    Attributes:
        data: Their batches.
        preprocessing: What is done with raw examples, as learned from the training examples.
        skipped: Number of examples left out because they cannot be read.
        warnings: Sentences for the user.
    """

    data: Data
    preprocessing: Preprocessing
    skipped: int = 0
    warnings: Sequence[str]


def build_data(config: Config, learned: Preprocessing | None = None) -> BuiltData:
    """Returns the data, and what the user must know about them.

    Args:
        config: Checked by preflight.
        learned: Of the run that goes on; None for a new run, which learns it from its training examples.
    """
    found = read_source(config, learned)
    common = pipeline_of(config.data)
    if not isinstance(found, Source):
        return _own_data(found, config, common)
    source = with_splits(found, common, learned)
    layers = [instantiate(f"data.augment[{index}]", node) for index, node in enumerate(common.augment)]
    data = IndexedData(
        source,
        augmentation=Augmentation(layers, source.spec.x) if layers else None,
        weigh=class_weights(source, common.class_weight),
    )
    warnings = [*source.warnings, *_left_out(source), *_unevaluated(source.examples)]
    return BuiltData(
        data=data,
        preprocessing=preprocessing.of_source(source, found.digest),
        skipped=source.skipped,
        warnings=warnings,
    )


def build_source(config: Config) -> Source:
    """Returns the examples with splits and fitted normalizers, neither augmented nor weighted by class.

    Raises:
        UserError: The data make their batches themselves.
    """
    found = read_source(config, None)
    if not isinstance(found, Source):
        raise UserError(
            f"data._target_={config.data['_target_']} implements Data and makes its batches itself, so it cannot be "
            "exported; return tfscale.data.base.Arrays or Source"
        )
    return with_splits(found, pipeline_of(config.data), None)


def read_source(config: Config, learned: Preprocessing | None) -> Source | Data:
    """Returns what the source of a configuration gives.

    Args:
        config: Checked by preflight.
        learned: Of a run, whose tokens, categories and class names the source uses; None for new ones.
    """
    target, options = config.data["_target_"], own_options("data", config.data)
    given: dict[str, Any] = {}
    if target == PYTHON:
        given["function"] = named_function("data.function", options.pop("function"))
    if learned is not None and target in SCHEMAS and takes(target, "learned"):
        given["learned"] = learned
    found = instantiate("data", {"_target_": target, **options}, **given)
    if isinstance(found, Arrays):
        return source_of(found, missing=pipeline_of(config.data).missing, learned=learned)
    if isinstance(found, Source | Data):
        return found
    raise UserError(
        f"data._target_ must return tfscale.data.base.Arrays or Source, or implement tfscale.data.base.Data, got "
        f"{type(found).__name__} from {config.data['_target_']}"
    )


def with_splits(source: Source, common: Pipeline, learned: Preprocessing | None) -> Source:
    """Returns a source with what is held out, and with normalizers: fitted, or those of a run."""
    if source.not_finite is not None and common.missing == "error":
        raise UserError(
            f"data: inputs must be finite, but {source.not_finite}; leave such examples out, or type "
            "data.missing=mean or data.missing=keep"
        )
    held = Held(validation=common.validation, test=common.test, stratify=common.stratify, seed=common.split_seed)
    divided = hold_out(source, held)
    if learned is not None:
        return preprocessing.adopt(divided, learned, "data")
    return normalize.fit(divided, common.normalize, fill_missing=common.missing == "mean")


def _own_data(data: Data, config: Config, common: Pipeline) -> BuiltData:
    """Checks data of the user's own, whose splits are its own too."""
    empty = [split.value for split, size in data.sizes.items() if not size]
    if empty or Split.TRAIN not in data.sizes:
        raise UserError(
            f"data must have training examples, and a split that it has must have examples, got none for "
            f"{', '.join(empty) or 'training'} from {config.data['_target_']}; give it some"
        )
    changed = [key for key, value in common if value != OWN_DATA.get(key, value)]
    if changed:
        raise UserError(
            f"data.{changed[0]} has no effect, as {config.data['_target_']} implements Data and makes its batches "
            "itself; leave it out"
        )
    own = data.warnings if isinstance(data, SequentialData) else ()
    normalizers = data.normalizers if isinstance(data, SequentialData) else None
    return BuiltData(
        data=data,
        preprocessing=preprocessing.of_data(data, normalizers),
        warnings=[*own, *_unevaluated(data.sizes)],
    )


def _left_out(source: Source) -> list[str]:
    return [f"{source.skipped:,} examples cannot be read and are left out"] if source.skipped else []


def _unevaluated(splits: Container[Split]) -> list[str]:
    if Split.VALIDATION in splits or Split.TEST in splits:
        return []
    return ["there are neither validation nor test examples, so nothing is evaluated; type data.validation=0.1"]


def build_task(config: Config, spec: ElementSpec) -> Task:
    """Returns the task, with the loss and the metrics of the configuration where it names any."""
    task: Task = instantiate("task", config.task, spec=spec)
    loss = None if config.loss["_target_"] == AUTO else instantiate("loss", config.loss, reduction="none")
    measures: dict[str, Measure] = {}
    for name, node in config.metrics.items():
        if name == AUTO:
            measures |= task.measures
        else:
            measures[name] = Measure(make=partial(instantiate, f"metrics.{name}", node), output=output_of(name, task))
    taken = [name for name in measures if is_reserved(name)]
    if taken:
        raise UserError(
            f"a metric must have another name than {taken[0]}, which is a figure of every run's own; rename the target"
        )
    return Overridden(task, loss=loss, measures=measures)
