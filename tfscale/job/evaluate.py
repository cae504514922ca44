"""Evaluates a checkpoint of a run: the part of `tfscale evaluate` that needs TensorFlow."""

from pathlib import Path

from tfscale.checkpoint.folder import newest
from tfscale.config.schemas.config import Config
from tfscale.errors import UserError
from tfscale.job import build as building
from tfscale.job.failure import fail
from tfscale.job.later_data import later_data, learned_by
from tfscale.runs import summary
from tfscale.runs.run_directory import RunDirectory
from tfscale.tracking.tables import person_console, results_table
from tfscale.training.checkpoints import best, restore_model
from tfscale.world import World


def evaluate_run(config: Config, world: World, folder: Path, *, best: bool) -> int:
    """Evaluates the newest, or the best, checkpoint of the run in `folder`, one replica a process."""
    directory = RunDirectory(folder, logs="logs-evaluation")  # the run may be in training, with failures of its own
    try:
        return _evaluate(config, world, directory, of_best=best)
    except (Exception, SystemExit, GeneratorExit) as error:  # noqa: BLE001 - recorded before the others fail
        return fail(error, world, directory)


def _evaluate(config: Config, world: World, directory: RunDirectory, *, of_best: bool) -> int:
    folder = directory.path
    if world.is_chief:
        directory.clear_failures()
    console = person_console(quiet=not world.is_chief)
    place = newest(
        directory.checkpoints,
        lambda place, error: console.print(
            f"warning: checkpoint {place.name} is damaged ({error}); using the one before it", highlight=False
        ),
    )
    place = best(place) if of_best else place
    config = building.for_evaluation(config)
    connection = building.connect(config, world)
    later = later_data(config, learned_by(directory, config))
    if later.built.data.spec.y is None and later.built.preprocessing.spec.y is not None:
        raise UserError("the data must have targets to evaluate on, got none; name them: data.label=COLUMN")
    job = building.build(config, connection, later.built, restored=True)
    restore_model(job.state, place)
    split = later.split
    row = {
        "run": folder.name,
        "examples": job.data.sizes[split],
        "step": job.state.step,
        **job.evaluator(job.state.consensus(), split),
    }
    if world.is_chief:
        summary.write({"split": split.value, **row}, folder / "evaluation.json")
        name = config.data.get("name") or config.data["_target_"]
        results_table(console, f"{split.value} examples of {name}", [row])
    return 0
