"""The backend in C++: see tfscale/kernels. One operation a stage, on the threads of the CPU device."""

from collections.abc import Sequence
from typing import final

import tensorflow as tf

from tfscale.compression.backends.base import (
    Contribution,
    Decoded,
    Merged,
    SparseUpdate,
    Spec,
    Sums,
    sum_codes,
    sum_tail,
)
from tfscale.kernels import library


@final
class Native:
    """Backend of replicas on CPU devices; needs the compiled kernels.

    Args:
        spec: Settings of the exchange.

    Raises:
        RuntimeError: The kernels are not built.
    """

    name = "native kernels"

    def __init__(self, spec: Spec) -> None:
        operations = library.load()
        if operations is None:
            raise RuntimeError(f"the kernels are not built; type: {library.BUILD}")
        self._operations, self._spec = operations, spec
        self._tensors = {"sizes": list(spec.layout.sizes), "dense": spec.dense}

    def check(self, vector: tf.Tensor) -> Contribution:
        """See `base.Backend`."""
        return Contribution(vector, self._operations.tfscale_usable(vector))

    def accumulate(
        self, residual: tf.Variable, velocity: tf.Variable | None, contribution: Contribution, thresholds: tf.Tensor
    ) -> SparseUpdate:
        """See `base.Backend`."""
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
                levels=self._spec.levels,
                **self._tensors,
            )
        )

    def encode(self, update: SparseUpdate, header: tf.Tensor, proposal: tf.Tensor | None = None) -> tf.Tensor:
        """See `base.Backend`."""
        return self._operations.tfscale_encode(
            update.sent,
            update.dense_values,
            update.usable,
            tf.zeros([0]) if proposal is None else proposal,
            header,
            formats=[code.number for code in self._spec.codes],
            size=self._spec.layout.size,
            levels=self._spec.levels,
            parts=self._spec.parts,
        )

    def decode(self, messages: Sequence[tf.Tensor], thresholds: tf.Tensor, header: tf.Tensor) -> Decoded:
        """See `base.Backend`."""
        with tf.device("CPU:0"):
            return Decoded(
                *self._operations.tfscale_decode(
                    header,
                    thresholds,
                    list(messages),
                    scale=self._spec.scale,
                    levels=self._spec.levels,
                    **self._tensors,
                )
            )

    def restore(self, residual: tf.Variable, message: tf.Tensor, thresholds: tf.Tensor, wanted: tf.Tensor) -> None:
        """See `base.Backend`."""
        with tf.device("CPU:0"):
            self._operations.tfscale_restore(
                residual.handle,
                message,
                thresholds,
                wanted,
                levels=self._spec.levels,
                parts=self._spec.parts,
                **self._tensors,
            )

    def merge(self, bundle: tf.Tensor, part: int, thresholds: tf.Tensor, header: tf.Tensor) -> Merged:
        """See `base.Backend`."""
        with tf.device("CPU:0"):
            return Merged(
                *self._operations.tfscale_merge(
                    header,
                    thresholds,
                    bundle,
                    parts=self._spec.parts,
                    part=part,
                    levels=self._spec.levels,
                    **self._tensors,
                )
            )

    def encode_sum(self, merged: Merged, part: int, words: tf.Tensor, header: tf.Tensor) -> tf.Tensor:
        """See `base.Backend`."""
        with tf.device("CPU:0"):
            return self._operations.tfscale_encode(
                merged.elements,
                sum_tail(merged, self._spec.tensors_of_part(part), words),
                tf.constant(True),
                tf.zeros([0]),
                header,
                formats=[code.number for code in sum_codes(self._spec.codes)],
                size=self._spec.layout.size,
                levels=self._spec.levels * self._spec.parts,
                parts=0,
            )

    def read_sums(
        self, messages: Sequence[tf.Tensor], merged: Merged, thresholds: tf.Tensor, header: tf.Tensor
    ) -> Sums:
        """See `base.Backend`."""
        with tf.device("CPU:0"):
            return Sums(
                *self._operations.tfscale_read_sums(
                    header,
                    thresholds,
                    merged.dense_sums,
                    merged.skip,
                    list(messages),
                    scale=self._spec.scale,
                    levels=self._spec.levels,
                    **self._tensors,
                )
            )
