"""The compressor seam: the steps of threshold sharing that touch all D elements, or every sent one.

Two implementations with the same bits: `native` (C++ kernels on CPU) and `plain` (TensorFlow operations on any device,
the reference). The strategy decides when and with which threshold; a compressor keeps nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import tensorflow as tf

from tfscale.compression.codecs.base import Code
from tfscale.vectors import Layout

UNUSABLE = 2.0**63
"""A contribution with an element that has reached it, or is NaN or Inf, is not used."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What does not change from step to step.

    Attributes:
        layout: The model's trainable tensors.
        min_size: Tensors with fewer elements are exchanged whole.
        momentum: Applied before accumulation, in [0, 1).
        nesterov: Whether it looks ahead.
        masking: Whether momentum is cleared where an element is sent.
        codes: That a message may be written in.
        scale: What the sum over replicas is multiplied by.
    """

    layout: Layout
    min_size: int
    momentum: float
    nesterov: bool
    masking: bool
    codes: Sequence[Code]
    scale: float

    @property
    def dense(self) -> list[bool]:
        """For each tensor, whether it is exchanged whole."""
        return [size < self.min_size for size in self.layout.sizes]

    @property
    def sparse_size(self) -> int:
        """Elements that are not exchanged whole."""
        return sum(size for size, dense in zip(self.layout.sizes, self.dense, strict=True) if not dense)


class Contribution(NamedTuple):
    """What a replica brings to a step.

    Attributes:
        vector: [D] float32.
        sound: [] bool, whether all of it is below UNSOUND.
    """

    vector: tf.Tensor
    usable: tf.Tensor


class SparseUpdate(NamedTuple):
    """What a replica has to send.

    Attributes:
        sent: [n] int32, the bits of `index << 1 | negative`, rising; empty if not sound.
        peaks: [T] largest |residual| of each tensor before anything was sent; 0 for whole ones.
        small: [F] contributions of the tensors that are exchanged whole.
        sound: [] bool, whether every element could be used.
    """

    sent: tf.Tensor
    peaks: tf.Tensor
    dense_values: tf.Tensor
    usable: tf.Tensor


class Combined(NamedTuple):
    """What all replicas have sent.

    Attributes:
        sum: [D] the scaled sum; zeros if void.
        counts: [T] int64, elements sent of each tensor, over all replicas; whole ones 0.
        void: [] bool, whether a replica asked to skip the step.
        strain: [] int32, the largest of all; see `codecs.message.strain`.
        proposed: [1] or [T] float32, the mean by rank of the thresholds that all propose, where there were none. One
            that nobody proposes is the largest of the others, or 0. Zeros if void, or if there were thresholds.
    """

    sum: tf.Tensor
    counts: tf.Tensor
    skip: tf.Tensor
    residual_ratio: tf.Tensor
    proposed: tf.Tensor


class Compressor(Protocol):
    """The heavy parts of an exchange.

    Attributes:
        name: For the run's first lines.
    """

    name: str

    def check(self, vector: tf.Tensor) -> Contribution:
        """[D] -> the same, and whether it is sound."""
        ...

    def accumulate(
        self, residual: tf.Variable, velocity: tf.Variable | None, contribution: Contribution, thresholds: tf.Tensor
    ) -> SparseUpdate:
        """Moves the velocity, adds to the residual and takes a quantum from every element that reaches its threshold.

        Of a contribution that is not sound nothing is used. An element of the sum that is beyond UNSOUND all the same
        changes neither velocity nor residual, and nothing is sent: what the other elements contributed waits.

        Args:
            residual: [D] float32.
            velocity: [D] float32, where there is momentum.
            contribution: What to add.
            thresholds: [1] or [T] float32, > 0; infinity sends nothing.
        """
        ...

    def pack(self, found: SparseUpdate, header: tf.Tensor) -> tf.Tensor:
        """Returns the message [M] int32; void if not sound. `header` is [4] int32: step, threshold, digest, strain."""
        ...

    def propose(self, found: SparseUpdate, proposal: tf.Tensor, header: tf.Tensor) -> tf.Tensor:
        """Returns the message [M] int32 that proposes thresholds [1] or [T]; void if not sound; `header` as `pack`."""
        ...

    def combine(self, messages: Sequence[tf.Tensor], thresholds: tf.Tensor, header: tf.Tensor) -> Combined:
        """Verifies, reads and adds W messages by rank.

        Args:
            messages: That `pack` has made; or, where the first threshold is 0, `propose`.
            thresholds: [1] or [T] that they were made with.
            header: [2] int32: step, threshold.

        Raises:
            tf.errors.OpError: A message is damaged, or of another step, threshold or set of parameters.
        """
        ...

    def restore(self, residual: tf.Variable, message: tf.Tensor, thresholds: tf.Tensor, wanted: tf.Tensor) -> None:
        """Gives a residual [D] back what its replica's verified message has taken from it, if `wanted` [] bool.

        What was clipped since stays clipped.
        """
        ...
