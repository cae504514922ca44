"""The backend seam: the stages of a compressed exchange that touch all D elements, or every sent one.

Two implementations give the same bits: `native` (C++ kernels on CPU) and `reference` (TensorFlow operations on any
device). The reducer decides which stage runs when, and with which threshold; a backend has no state.
"""

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import tensorflow as tf

from tfscale.compression.codecs.base import Code
from tfscale.compression.codecs.rice import Rice
from tfscale.vectors import Layout

USABLE_LIMIT = 2.0**63
"""An element is usable if its magnitude is below this; NaN and Inf are not."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The settings of an exchange that no step changes.

    Attributes:
        layout: The model's trainable tensors.
        min_size: Tensors with fewer elements are dense: exchanged in full, in the same message.
        momentum: Momentum coefficient, applied before accumulation, in [0, 1).
        nesterov: Use Nesterov momentum.
        masking: Clear the momentum of an element when it is sent.
        levels: L, the most thresholds that a message can send of one element, which it then lists as often.
        codes: Codes that a message may be written in; with several levels they must be able to repeat elements.
        scale: Factor of the sum over replicas.
        parts: W if each replica adds one part of the elements, and a replica's messages are a bundle (see
            `collectives.bundles`); 0 if every replica adds all, and a replica has one message.
    """

    layout: Layout
    min_size: int
    momentum: float
    nesterov: bool
    masking: bool
    levels: int
    codes: Sequence[Code]
    scale: float
    parts: int = 0

    def part(self, number: int) -> tuple[int, int]:
        """Returns the first element of a part and that of the next."""
        return self.layout.size * number // self.parts, self.layout.size * (number + 1) // self.parts

    def tensors_of_part(self, number: int) -> range:
        """Returns the tensors from that of a part's first element to that of its last."""
        begin, end = self.part(number)
        if begin == end:
            return range(0)
        ends = list(itertools.accumulate(self.layout.sizes))
        return range(bisect.bisect_right(ends, begin), bisect.bisect_right(ends, end - 1) + 1)

    @property
    def dense(self) -> list[bool]:
        """True for each tensor that is dense."""
        return [size < self.min_size for size in self.layout.sizes]

    @property
    def sparse_size(self) -> int:
        """Number of elements in sparse tensors."""
        return sum(size for size, dense in zip(self.layout.sizes, self.dense, strict=True) if not dense)

    @property
    def dense_size(self) -> int:
        """F, the number of elements in dense tensors."""
        return self.layout.size - self.sparse_size


def sum_codes(codes: Sequence[Code]) -> list[Code]:
    """Returns the codes of sums: those that can repeat elements, or the rice code if none can."""
    return [code for code in codes if code.repeats] or [Rice()]


def sum_tail(merged: "Merged", tensors: range, words: tf.Tensor) -> tf.Tensor:
    """Returns the tail of a sum's message as dense values [2 + 2 * tensors] float32: int64s by their bits."""
    numbers = tf.concat([words[tf.newaxis], merged.counts[tensors.start : tensors.stop]], axis=0)
    return tf.reshape(tf.bitcast(numbers, tf.float32), [-1])


class Contribution(NamedTuple):
    """A replica's gradient or update.

    Attributes:
        vector: [D] float32.
        usable: [] bool, True if every element is below USABLE_LIMIT in magnitude.
    """

    vector: tf.Tensor
    usable: tf.Tensor


class SparseUpdate(NamedTuple):
    """The elements that a replica sends at a step.

    Attributes:
        sent: [n] int32, the bits of `index << 1 | negative`, ascending, up to L times each; empty if not usable.
        peaks: [T] largest |residual| of each tensor before sending; 0 for dense tensors.
        dense_values: [F] contributions to the dense tensors.
        usable: [] bool, True if every element was usable.
    """

    sent: tf.Tensor
    peaks: tf.Tensor
    dense_values: tf.Tensor
    usable: tf.Tensor


class Decoded(NamedTuple):
    """The content of all W messages of a step.

    Attributes:
        sum: [D] the scaled sum; zeros if skipped.
        counts: [T] int64, thresholds sent of each tensor, over all replicas; 0 for dense tensors.
        skip: [] bool, True if a replica asks to skip the step.
        residual_ratio: [] int32, the largest of all; see `message.residual_ratio`.
        proposed: [1] or [T] float32, the mean by rank of the proposed thresholds, if the thresholds are uninitialized.
            A tensor without a proposal takes the largest of the others, or 0. Zeros if skipped or initialized.
    """

    sum: tf.Tensor
    counts: tf.Tensor
    skip: tf.Tensor
    residual_ratio: tf.Tensor
    proposed: tf.Tensor


class Merged(NamedTuple):
    """The content of the messages of all replicas for one part of the elements.

    Attributes:
        elements: [n] int32, as in `SparseUpdate`: the sum, up to W * L times each.
        counts: [T] int64, thresholds sent of each tensor's elements in the part, over all replicas.
        dense_sums: [F] sums of dense values, of all parts; zeros if skipped.
        skip: [] bool, True if a replica asks to skip the step.
        residual_ratio: [] int32, the largest of all; see `message.residual_ratio`.
        proposed: [1] or [T] float32; see `Decoded`.
        skipped: [] int64, steps that replicas have skipped alone, of all.
    """

    elements: tf.Tensor
    counts: tf.Tensor
    dense_sums: tf.Tensor
    skip: tf.Tensor
    residual_ratio: tf.Tensor
    proposed: tf.Tensor
    skipped: tf.Tensor


class Sums(NamedTuple):
    """The sums of all parts.

    Attributes:
        sum: [D] the scaled sum; zeros if skipped.
        counts: [T] int64, thresholds sent of each tensor, over all replicas; 0 for dense tensors.
        words: [] int64, words that all replicas have received from others for their parts.
    """

    sum: tf.Tensor
    counts: tf.Tensor
    words: tf.Tensor


class Backend(Protocol):
    """The computations of an exchange.

    Attributes:
        name: For the run's first lines.
    """

    name: str

    def check(self, vector: tf.Tensor) -> Contribution:
        """Marks a vector [D] as usable or not."""
        ...

    def accumulate(
        self, residual: tf.Variable, velocity: tf.Variable | None, contribution: Contribution, thresholds: tf.Tensor
    ) -> SparseUpdate:
        """Adds to the residual, and subtracts up to L thresholds from every element that reaches them.

        A contribution that is not usable changes nothing. If a sum reaches USABLE_LIMIT all the same, its element keeps
        its velocity and residual, and nothing is sent: the other elements' contributions stay in the residual.

        Args:
            residual: [D] float32.
            velocity: [D] float32; None without momentum.
            contribution: Gradient or update to add.
            thresholds: [1] or [T] float32, > 0; infinity sends nothing.
        """
        ...

    def encode(self, update: SparseUpdate, header: tf.Tensor, proposal: tf.Tensor | None = None) -> tf.Tensor:
        """Writes the message [M] int32, or the bundle; a skip message if the update is not usable.

        Args:
            update: Elements to send.
            header: [4] int32: step, threshold, digest, residual ratio.
            proposal: Thresholds [1] or [T] to propose in place of the sparse elements.
        """
        ...

    def decode(self, messages: Sequence[tf.Tensor], thresholds: tf.Tensor, header: tf.Tensor) -> Decoded:
        """Verifies, reads and adds W messages.

        Args:
            messages: By rank; proposals if the first threshold is 0.
            thresholds: [1] or [T] that the messages were made with.
            header: [2] int32: step, threshold.

        Raises:
            tf.errors.OpError: A message is damaged, or of another step, threshold or set of parameters.
        """
        ...

    def merge(self, bundle: tf.Tensor, part: int, thresholds: tf.Tensor, header: tf.Tensor) -> Merged:
        """Verifies, reads and adds the W messages for a part.

        Args:
            bundle: From all replicas, for the part.
            part: Its number.
            thresholds: See `decode`.
            header: See `decode`.

        Raises:
            tf.errors.OpError: See `decode`; or a message has elements of another part.
        """
        ...

    def encode_sum(self, merged: Merged, part: int, words: tf.Tensor, header: tf.Tensor) -> tf.Tensor:
        """Writes the message [M] int32 with the sum of a part.

        Its tail has, as int64, `words`, and the counts of the tensors of the part.

        Args:
            merged: The sum.
            part: Its number.
            words: [] int64, received from other replicas for the part.
            header: [4] int32: step, threshold, digest, 0.
        """
        ...

    def read_sums(
        self, messages: Sequence[tf.Tensor], merged: Merged, thresholds: tf.Tensor, header: tf.Tensor
    ) -> Sums:
        """Verifies and reads the sums of all parts.

        Args:
            messages: Of `encode_sum`, by part.
            merged: Of any part: its dense sums and whether to skip are the same.
            thresholds: See `decode`.
            header: See `decode`.

        Raises:
            tf.errors.OpError: A message is damaged, or of another step, threshold or part.
        """
        ...

    def restore(self, residual: tf.Variable, message: tf.Tensor, thresholds: tf.Tensor, wanted: tf.Tensor) -> None:
        """Adds a replica's verified message, or its bundle, back to its residual [D], if `wanted` [] bool.

        An element that was clipped in between stays clipped.
        """
        ...
