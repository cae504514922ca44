"""The compressor in C++: see tfscale/kernels. One operation a step of the work, on the threads of the CPU device."""

from collections.abc import Sequence
from typing import final

import tensorflow as tf

from tfscale.compression.backends.base import Combined, Contribution, SparseUpdate, Spec
from tfscale.kernels import library


@final
class Native:
    """Needs the compiled kernels, and replicas on CPU devices.

    Args:
        rule: What does not change from step to step.

    Raises:
        RuntimeError: The kernels are not built.
    """

    name = "native kernels"

    def __init__(self, spec: Spec) -> None:
        operations = library.load()
        if operations is None:
            raise RuntimeError(f"the kernels are not built; type: {library.BUILD}")
        self._operations, self._spec = operations, spec
        self._tensors = {"sizes": list(spec.layout.sizes), "whole": spec.dense}

    def check(self, vector: tf.Tensor) -> Contribution:
        """See `base.Compressor`."""
        return Contribution(vector, self._operations.tfscale_sound(vector))

    def accumulate(
        self, residual: tf.Variable, velocity: tf.Variable | None, contribution: Contribution, thresholds: tf.Tensor
    ) -> SparseUpdate:
        """See `base.Compressor`."""
        return SparseUpdate(
            *self._operations.tfscale_accumulate(
                residual.handle,
                (residual if velocity is None else velocity).handle,
                contribution.vector,
                thresholds,
                contribution.usable,
                momentum=self._spec.momentum,
                nesterov=self._spec.nesterov,
                masking=self._spec.masking,
                **self._tensors,
            )
        )

    def pack(self, found: SparseUpdate, header: tf.Tensor) -> tf.Tensor:
        """See `base.Compressor`."""
        return self.propose(found, tf.zeros([0]), header)

    def propose(self, found: SparseUpdate, proposal: tf.Tensor, header: tf.Tensor) -> tf.Tensor:
        """See `base.Compressor`."""
        return self._operations.tfscale_pack(
            found.sent,
            found.dense_values,
            found.usable,
            proposal,
            header,
            formats=[code.number for code in self._spec.codes],
            size=self._spec.layout.size,
        )

    def combine(self, messages: Sequence[tf.Tensor], thresholds: tf.Tensor, header: tf.Tensor) -> Combined:
        """See `base.Compressor`."""
        with tf.device("CPU:0"):
            return Combined(
                *self._operations.tfscale_combine(
                    header, thresholds, list(messages), scale=self._spec.scale, **self._tensors
                )
            )

    def restore(self, residual: tf.Variable, message: tf.Tensor, thresholds: tf.Tensor, wanted: tf.Tensor) -> None:
        """See `base.Compressor`."""
        with tf.device("CPU:0"):
            self._operations.tfscale_restore(residual.handle, message, thresholds, wanted, **self._tensors)
