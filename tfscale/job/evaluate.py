"""Evaluates a checkpoint of a run: the part of `tfscale evaluate` that needs TensorFlow."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from tfscale.config.schemas.config import Config
from tfscale.config.schemas.evaluation import EvaluationOptions
from tfscale.errors import UserError
from tfscale.evaluation.base import Figures, Suite
from tfscale.evaluation.select import Output, suites_of
from tfscale.job import build as building
from tfscale.job.build import Job
from tfscale.job.evaluation_tables import show
from tfscale.job.failure import fail
from tfscale.job.later_data import data_name, later_data, learned_by
from tfscale.job.slices import slices_of
from tfscale.job.trained import chosen_checkpoint
from tfscale.runs import summary
from tfscale.runs.run_directory import RunDirectory
from tfscale.specs import ArraySpec, leaves
from tfscale.tasks.override import tasks_by_output
from tfscale.terminal import survive_write_errors
from tfscale.tracking.tables import person_console
from tfscale.training.checkpoints import restore_model
from tfscale.training.scored_pass import ALL, PassResult, ScoredPass, Slices
from tfscale.world import World

DOCUMENT = "evaluation"
"""Beginning of the names of the document and the pictures in the run directory."""

OTHER = "other-data"
"""Beginning of the names where the data are not the run's own: its own evaluation stays."""


def evaluate_run(config: Config, world: World, directory: RunDirectory, options: EvaluationOptions) -> int:
    """Evaluates as one rank of a job, prints the result and returns the exit code."""
    survive_write_errors("stdout")
    try:
        if world.is_chief:
            directory.clear_failures()
        console = person_console(quiet=not world.is_chief)
        document = evaluate(config, world, directory.path, options, console=console)
        show(console, document)
        return 0
    except (Exception, SystemExit, GeneratorExit) as error:  # noqa: BLE001 - recorded before the others fail
        return fail(error, world, directory)


def evaluate(
    config: Config, world: World, folder: Path, options: EvaluationOptions, *, console: Console | None = None
) -> dict[str, Any]:
    """Evaluates a checkpoint of a run, one replica a process. All processes must call it.

    Args:
        config: Of the run, as `saved.read` gives it.
        world: This process among those of the job.
        folder: The run directory.
        options: Of the command.
        console: For warnings; None for none.

    Returns:
        The document of evaluation.json, which the chief has written with the pictures.

    Raises:
        UserError: The run has no checkpoint or nothing to evaluate on, or an option does not fit it.
        RunError: An output of the model is not finite.
    """
    directory = RunDirectory(folder, only_read=True)
    place = chosen_checkpoint(directory, options.checkpoint, partial(_warn, console))
    config = building.for_evaluation(config)
    connection = building.connect(config, world)
    later = later_data(config, learned_by(directory, config), directory)
    if later.built.data.spec.y is None and later.built.preprocessing.spec.y is not None:
        raise UserError("the data must have targets to evaluate on, got none; name them: data.label=COLUMN")
    job = building.build(config, connection, later.built, restored=True)
    restore_model(job.state, place)
    split = later.split
    suites = suites_of(outputs_of(job, options), None if options.suites == "auto" else options.suites)
    slices = None if options.by is None else slices_of(options.by, job.data, job.task, split)
    scored = ScoredPass(
        job.state.replicas,
        metrics=job.evaluator.metrics,
        data=job.data,
        collective=job.collective,
        task=job.task,
        suites=suites,
        slices=slices,
    )
    result = scored(split, batch=options.batch)
    document: dict[str, Any] = {
        "split": later.shown,
        "data": data_name(config.data),
        "run": folder.name,
        "examples": job.data.sizes[split],
        "step": job.state.step,
        **result.measured,
        "evaluations": _evaluations(result, suites, ALL),
    }
    if slices is not None:
        document["slices"] = _slices(result, suites, str(options.by), slices)
    if world.is_chief:
        stem = DOCUMENT if later.is_own else f"{OTHER}-{DOCUMENT}"
        document["pictures"] = _draw(result, suites, folder, f"{stem}-")
        summary.write(document, folder / f"{stem}.json")
    return document


def outputs_of(job: Job, options: EvaluationOptions) -> dict[str, Output]:
    """Returns the outputs of a job's model by name, for the choice of suites."""
    targets = leaves(job.data.spec.y) if job.data.spec.y is not None else {}
    outputs = {}
    for name, task in tasks_by_output(job.task).items():
        units, target = task.units, targets.get(name)
        outputs[name] = Output(
            task=task.name,
            units=units if isinstance(units, int) else 0,
            names=target.names if isinstance(target, ArraySpec) else None,
            threshold=options.threshold,
            top_k=options.top_k,
        )
    return outputs


def _evaluations(result: PassResult, suites: Mapping[str, Mapping[str, Suite]], which: str) -> Figures:
    """Returns the figures by suite; by output, then by suite, if there are several outputs."""
    found = {
        output: {
            name: suite.figures(result.states.get((output, name, which), suite.zero())) for name, suite in named.items()
        }
        for output, named in suites.items()
    }
    return found[""] if found.keys() == {""} else found


def _slices(result: PassResult, suites: Mapping[str, Mapping[str, Suite]], by: str, slices: Slices) -> dict[str, Any]:
    present = {which for _, _, which in result.states}
    return {
        "by": by,
        "values": {
            value: _evaluations(result, suites, str(number))
            for number, value in enumerate(slices.values)
            if str(number) in present
        },
    }


def _draw(result: PassResult, suites: Mapping[str, Mapping[str, Suite]], folder: Path, beginning: str) -> list[str]:
    for old in folder.glob(f"{beginning}*.png"):
        old.unlink(missing_ok=True)
    drawn = []
    for output, named in suites.items():
        stem = f"{beginning}{output}-" if output else beginning
        for name, suite in named.items():
            drawn += suite.draw(result.states[output, name, ALL], folder, stem)
    return [path.name for path in drawn]


def _warn(console: Console | None, text: str) -> None:
    if console is not None:
        console.print(f"warning: {text}", highlight=False, markup=False)
