"""Tells whether a run has nothing left to train, so that `resume` does not start processes for it.

Such a run used to be evaluated again and its summary overwritten with a speed of 0 samples/s.
"""

from tfscale import user_paths
from tfscale.checkpoint.folder import complete
from tfscale.checkpoint.format import DamagedError, step_of, verify
from tfscale.config import follow_up
from tfscale.config.schemas.config import Config
from tfscale.runs.run_directory import RunDirectory


def message(config: Config) -> str | None:
    """Returns the message for a finished run; None if there is something to train.

    A run is finished if it has reached the end of its schedule, as its summary says and its newest checkpoint confirms.
    One that `early_stopping` or `train.max_time` ended is not: resuming it trains on.

    Args:
        config: Configuration of the run to resume, with the user's changes.
    """
    path = user_paths.expanded(config.run.dir) / str(config.run.name)
    directory = RunDirectory(path, only_read=True)
    steps = directory.ended_after()
    results = directory.results()
    epochs = results.get("epochs")
    if steps is None or "ended_early" in results or not _is_intact(directory, steps):
        return None
    train = config.train
    if train.steps is not None:
        limit, left = f"train.steps={train.steps}", train.steps - steps
        more = f"train.steps={steps + train.steps}"
    elif isinstance(epochs, int | float) and steps > 0:
        # In steps, rounded: epochs need not be whole.
        limit, left = f"train.epochs={train.epochs:g}", round(((train.epochs or 0) - epochs) * steps / epochs)
        more = f"train.epochs={epochs + (train.epochs or 0):g}"
    else:
        return None
    if left > 0:
        return None
    return (
        f"run {path.name} is finished: it has trained {steps:,} steps, and {limit} asks for no more; to train it "
        f"further, type: {follow_up.command('resume', path, config.trust, more)}"
    )


def _is_intact(directory: RunDirectory, steps: int) -> bool:
    newest = next(iter(complete(directory.checkpoints)), None)
    try:
        return newest is not None and step_of(newest) == steps and verify(newest).step == steps
    except DamagedError:
        return False
