"""Random changes of training inputs by Keras layers, drawn for each example and epoch from the seed.

Keras draws for a whole batch, so what an example gets would depend on its batch and the number of replicas. Here each
example has seeds of its own.
"""

from collections.abc import Sequence
from typing import final

import keras
import tensorflow as tf

from tfscale.errors import UserError
from tfscale.specs import ArraySpec, Nested

_DRAWS = 1 << 40
"""Distance between the seeds of two draws for one example, beyond any index."""


@final
class ExampleSeeds(keras.random.SeedGenerator):
    """Seeds of one example, in place of a layer's own generator; has no variable."""

    def __init__(self) -> None:
        self._key: tf.Tensor | None = None
        self._drawn = 0

    def start(self, key: tf.Tensor) -> None:
        """Begins an example; its key, [2] int64, is that of its first draw."""
        self._key, self._drawn = key, 0

    def next(self, ordered: bool = True) -> tf.Tensor:
        """Returns the seed of the next draw, [2] int64."""
        if self._key is None:
            raise RuntimeError("a seed was drawn before an example began")
        self._drawn += 1
        return self._key + tf.constant([0, self._drawn * _DRAWS], tf.int64)


@final
class Augmentation:
    """Layers that change inputs in training.

    Args:
        layers: Keras layers, in order; their own seeds are not used.
        spec: Of the only input.

    Raises:
        UserError: The inputs are several tensors or ids, or a layer changes their shape.
    """

    def __init__(self, layers: Sequence[keras.Layer], spec: Nested[ArraySpec]) -> None:
        if not isinstance(spec, ArraySpec) or spec.categories is not None:
            raise UserError("data.augment must have one input of measurements, such as an image; type data.augment=[]")
        self._layers, self._shape, self._seeds = layers, spec.shape, ExampleSeeds()
        for layer in layers:
            for name in ("generator", "seed_generator"):
                if isinstance(getattr(layer, name, None), keras.random.SeedGenerator):
                    setattr(layer, name, self._seeds)
        changed = tf.function(self._one, autograph=False).get_concrete_function(
            tf.TensorSpec(self._shape, tf.float32), tf.TensorSpec([2], tf.int64)
        )
        if tuple(changed.output_shapes) != self._shape:
            raise UserError(
                f"data.augment must keep the shape of the input {self._shape}, got {tuple(changed.output_shapes)}; "
                "leave the layer that changes it out"
            )

    def __call__(self, x: tf.Tensor, epoch_seeds: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
        """Returns changed inputs, [b, ...] float32.

        Args:
            x: [b, ...].
            epoch_seeds: [b] int64, of the epoch of each example.
            indices: [b] int64, of the examples.
        """
        keys = tf.stack([epoch_seeds, indices], axis=1)
        spec = tf.TensorSpec(self._shape, tf.float32)
        return tf.map_fn(lambda part: self._one(*part), (tf.cast(x, tf.float32), keys), fn_output_signature=spec)

    def _one(self, x: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        self._seeds.start(key)
        batch = x[tf.newaxis]
        for layer in self._layers:
            batch = layer(batch, training=True)
        return batch[0]
