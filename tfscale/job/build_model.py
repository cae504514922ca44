"""Builds the model of a configuration: called by its function, built on the data, and given its first weights."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfscale.config.instantiate import instantiate
from tfscale.config.schemas.common import separated
from tfscale.config.schemas.config import Config
from tfscale.errors import UserError
from tfscale.job.cause import describe
from tfscale.job.initial_weights import InitialWeights
from tfscale.specs import ArraySpec, ElementSpec, Nested, leaves, map_parts
from tfscale.tasks.base import Task


def build_model(config: Config, spec: ElementSpec, task: Task, initial: InitialWeights | None) -> keras.Model:
    """Returns a new model.

    Args:
        config: Checked by preflight.
        spec: Of the data; gives the shapes that the configuration leaves to them.
        task: Gives the length and activation of the output.
        initial: Weights of an earlier run or of a file.

    Raises:
        UserError: The function returns no model, the model does not take the data, or no weights fit.
    """
    built = instantiate("model", _filled(separated("model", config.model)[0], spec, task))
    if not isinstance(built, keras.Model):
        raise UserError(
            f"model._target_ must return a keras.Model, got {type(built).__name__} from {config.model['_target_']}"
        )
    built = built if built.built else _called(built, spec)
    if initial is not None:
        initial.load(built)
    return built


def zeros(spec: ElementSpec) -> tuple[Nested[tf.Tensor], Nested[tf.Tensor]]:
    """Returns a batch of one example of zeros: inputs as a model gets them, and targets as the source has them."""

    def inputs(part: ArraySpec) -> tf.Tensor:
        return tf.zeros((1, *part.shape), tf.float32 if part.categories is None else tf.int32)

    def targets(part: ArraySpec) -> tf.Tensor:
        return tf.zeros((1, *part.shape), tf.int32 if part.names is not None else tf.as_dtype(part.dtype))

    return map_parts(inputs, spec.x), () if spec.y is None else map_parts(targets, spec.y)


def _called(model: keras.Model, spec: ElementSpec) -> keras.Model:
    """Builds a model by a call on one example of zeros.

    Raises:
        UserError: The model cannot be called on it.
    """
    try:
        model(zeros(spec)[0], training=False)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the model {type(model).__name__} cannot be called on the inputs ({spec.x}): {describe(error)}"
        ) from error
    return model


def _filled(node: Mapping[str, Any], spec: ElementSpec, task: Task) -> dict[str, Any]:
    """Returns a model's node with facts of the data and the task in place of auto."""
    x, y = leaves(spec.x), leaves(spec.y or ())
    facts = {
        "input_shape": _one_or_all({name: list(each.shape) for name, each in x.items()}),
        "vocabulary": _one_or_all({name: each.categories for name, each in x.items()}),
        "outputs": task.units,
        "sequence": task.name == "next_token",
        "activation": task.activation,
        "classes": _one_or_all({name: each.shape[-1] if each.one_hot else each.categories for name, each in y.items()}),
    }
    return {key: facts.get(key, value) if value == "auto" else value for key, value in node.items()}


def _one_or_all(facts: Mapping[str, Any]) -> Any:
    """Returns the fact of the only tensor, or the facts by name."""
    return facts[""] if facts.keys() == {""} else dict(facts) or None
