"""A trained model with what turns raw examples into its inputs, and its outputs into predictions."""

from dataclasses import dataclass

import keras

from tfscale.data.preprocessing import Preprocessing
from tfscale.tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained model.

    Attributes:
        name: Of the run.
        preprocessing: What turns raw examples into inputs of the model.
        task: Decodes its outputs.
        model: Takes inputs as the pipeline gives them; float32.
        step: Optimizer steps that it has had.
        digest: sha256 of its weights.
    """

    name: str
    preprocessing: Preprocessing
    task: Task
    model: keras.Model
    step: int
    digest: str
