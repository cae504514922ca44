"""Weights of classes in the training loss."""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from tfscale.data.base import Source, Split
from tfscale.errors import UserError
from tfscale.specs import ArraySpec, Nested, leaves

Weigh = Callable[[Nested[tf.Tensor]], tf.Tensor]
"""Targets [b, ...] -> weights of the examples, [b]."""


def classes_of(source: Source, key: str) -> np.ndarray:
    """Returns the class of each training example, [N].

    Args:
        source: The data.
        key: Option that needs classes, for the message.

    Raises:
        UserError: The targets are not one class for each example.
    """
    target, spec = source.examples[Split.TRAIN].targets(), source.spec.y
    if isinstance(target, np.ndarray) and isinstance(spec, ArraySpec) and spec.categories is not None:
        if spec.one_hot:
            return np.argmax(target, axis=-1)
        if spec.shape in ((), (1,)):
            return target.reshape(-1)
    raise UserError(f"{key} must have one class for each example; leave it out")


def class_weights(source: Source, wanted: str | Mapping[str | int, float] | None) -> Weigh | None:
    """Returns a graph function that weighs examples by their class.

    Args:
        source: The data.
        wanted: `balanced` for N / (classes * examples of the class), or class name or number -> weight, 1 for the
            others; None for no weights.

    Raises:
        UserError: The targets are not classes, or a name is not that of a class.
    """
    if wanted is None:
        return None
    classes = classes_of(source, "data.class_weight")
    spec = source.spec.y
    if not isinstance(spec, ArraySpec):  # `classes_of` has checked it
        raise TypeError(spec)
    count = spec.shape[0] if spec.one_hot else spec.categories or 0
    table = _balanced(classes, count) if isinstance(wanted, str) else _named(wanted, count, spec.names)
    one_hot = spec.one_hot

    def weigh(y: Nested[tf.Tensor]) -> tf.Tensor:
        target = leaves(y)[""]
        numbers = tf.argmax(target, axis=-1) if one_hot else tf.cast(tf.reshape(target, [-1]), tf.int64)
        return tf.gather(tf.constant(table, tf.float32), numbers)

    return weigh


def _balanced(classes: np.ndarray, count: int) -> np.ndarray:
    from sklearn.utils.class_weight import compute_class_weight  # takes a second, and only this needs it

    present = np.unique(classes.astype(np.int64))
    table = np.ones(count)
    table[present] = compute_class_weight("balanced", classes=present, y=classes.astype(np.int64))
    return table


def _named(wanted: Mapping[str | int, float], count: int, names: tuple[str, ...] | None) -> np.ndarray:
    known = names or tuple(str(number) for number in range(count))
    table = np.ones(count)
    for name, weight in wanted.items():
        if str(name) not in known:
            raise UserError(
                f"data.class_weight must name classes ({', '.join(known[:20])}), got {name}; correct the name"
            )
        table[known.index(str(name))] = weight
    return table
