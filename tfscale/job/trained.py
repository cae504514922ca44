"""Loads a trained model from its run directory; needs neither the training data nor other processes."""

from collections.abc import Callable

import keras
import tensorflow as tf

from tfscale.checkpoint.folder import newest
from tfscale.config.find_run import Which
from tfscale.config.schemas.config import Config
from tfscale.config.targets import trust
from tfscale.inference.trained import Trained
from tfscale.job.build_data import build_task
from tfscale.job.build_model import build_model
from tfscale.job.later_data import learned_by
from tfscale.runs.run_directory import RunDirectory
from tfscale.training.checkpoints import best, restore_weights
from tfscale.training.state import weights_digest


def load(config: Config, directory: RunDirectory, which: Which, warn: Callable[[str], None]) -> Trained:
    """Builds a run's model and gives it the weights of a checkpoint.

    Resets the numbers in Keras's automatic layer names, by which weights are saved.

    Args:
        config: Of the run.
        directory: Of the run.
        which: Checkpoint.
        warn: Takes a sentence about a damaged checkpoint.

    Raises:
        UserError: There is no intact checkpoint, or it is of another model.
    """
    trust(config.trust)
    place = newest(
        directory.checkpoints,
        lambda place, error: warn(f"checkpoint {place.name} is damaged ({error}); using the one before it"),
    )
    place = best(place) if which == "best" else place
    learned = learned_by(directory, config)
    task = build_task(config, learned.spec)
    keras.utils.clear_session(free_memory=False)
    with tf.device("/CPU:0") if not tf.config.list_physical_devices("GPU") else tf.device("/GPU:0"):
        model = build_model(config, learned.spec, task, None)
    step = restore_weights(model, place)
    return Trained(
        name=directory.path.name,
        preprocessing=learned,
        task=task,
        model=model,
        step=step,
        digest=weights_digest(model),
    )
