"""Loads a trained model from its run directory; needs neither the training data nor other processes."""

import random
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import tensorflow as tf
from keras.src.backend.common import global_state

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

NUMBERS = "object_name_uids"
"""Keras's own name for the numbers in automatic layer names, by which weights are saved."""

_LOADING = threading.Lock()
"""Held while a model is built, as random states belong to the process."""


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
def as_in_a_new_process() -> Iterator[None]:
    """Lets Keras number layers from the beginning, in float32, and restores what the caller had afterwards.

    `keras.utils.clear_session` would also forget the dtype policy and the layer numbers of all threads.
    """
    numbers, policy, state = global_state.get_global_attribute(NUMBERS), keras.config.dtype_policy(), random.getstate()
    global_state.set_global_attribute(NUMBERS, defaultdict(int))
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        global_state.set_global_attribute(NUMBERS, numbers)
        keras.config.set_dtype_policy(policy)
        random.setstate(state)


def load(config: Config, directory: RunDirectory, which: Which, warn: Callable[[str], None]) -> Trained:
    """Builds a run's model and gives it the weights of a checkpoint.

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
    device = "/GPU:0" if tf.config.list_physical_devices("GPU") else "/CPU:0"
    with _LOADING, as_in_a_new_process(), tf.device(device):
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
