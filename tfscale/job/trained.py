"""Loads a trained model from its run directory; needs neither the training data nor other processes."""

from collections.abc import Callable
from pathlib import Path

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


def chosen_checkpoint(directory: RunDirectory, which: Which, warn: Callable[[str], None]) -> Path:
    """Returns an intact checkpoint of a run.

    Args:
        directory: Of the run.
        which: The newest, or that of the best evaluation.
        warn: Takes a sentence about a damaged one that is skipped.

    Raises:
        UserError: There is none.
    """
    found = newest(
        directory.checkpoints,
        lambda path, error: warn(f"checkpoint {path.name} is damaged ({error}); using the one before it"),
    )
    return best(found) if which == "best" else found


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
    checkpoint = chosen_checkpoint(directory, which, warn)
    learned = learned_by(directory, config)
    task = build_task(config, learned.spec)
    policy = keras.config.dtype_policy()
    keras.utils.clear_session(free_memory=False)  # which also forgets the caller's policy
    keras.config.set_dtype_policy("float32")
    with tf.device("/CPU:0") if not tf.config.list_physical_devices("GPU") else tf.device("/GPU:0"):
        model = build_model(config, learned.spec, task, None)
    keras.config.set_dtype_policy(policy)
    step = restore_weights(model, checkpoint)
    return Trained(
        name=directory.path.name,
        preprocessing=learned,
        task=task,
        model=model,
        step=step,
        digest=weights_digest(model),
    )
