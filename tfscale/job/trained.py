"""Loads a trained model from its run directory; needs neither the training data nor other processes."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

_LOADING = threading.Lock()
"""Held while a model is built: Keras numbers the layers of a process, by which weights are saved."""


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


@contextmanager
def _settings_kept() -> Iterator[None]:
    """Restores what building a model changes of the process: Keras's dtype policy, and Python's random state."""
    policy, state = keras.config.dtype_policy(), random.getstate()
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
        random.setstate(state)


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
    with _LOADING, _settings_kept():
        keras.utils.clear_session(free_memory=False)
        keras.config.set_dtype_policy("float32")
        with tf.device("/GPU:0" if tf.config.list_physical_devices("GPU") else "/CPU:0"):
            model = build_model(config, learned.spec, task, None)
    step = restore_weights(model, checkpoint)
    return Trained(
        name=directory.path.name,
        preprocessing=learned,
        task=task,
        model=model,
        step=step,
        digest=weights_digest(model),
    )
