"""A buffer for messages whose lengths change from step to step.

Horovod caches the shapes of a collective. While every process comes with its last shape, they agree by one bit each;
otherwise all describe theirs to rank 0, which answers all: four more rounds over the network, a third of an exchange's
time on loopback. So a process pads its messages to a size that rarely changes. A strategy counts the bytes of its
messages; the padding, like Horovod's own messages and TCP's headers, belongs to the transport.
"""

from typing import final

import tensorflow as tf

WINDOW = 64
"""Messages after which the buffer shrinks to what they need."""

STEP = 16
"""The size of a buffer is a multiple of this, in words."""


@final
class PaddedBuffer(tf.Module):
    """The buffer of one process."""

    def __init__(self) -> None:
        super().__init__()
        self._size, self._largest, self._count = (tf.Variable(tf.constant(0), trainable=False) for _ in range(3))

    def pad(self, words: tf.Tensor) -> tf.Tensor:
        """[n] int32 -> [n or more], zeros at the end.

        The size grows as soon as a message does not fit, and is fitted to the largest of every WINDOW messages; each
        time with a sixteenth to spare, so that the next ones fit.
        """
        length, size = tf.size(words), self._size.read_value()
        count = self._count.assign_add(1).read_value()
        largest, over = tf.maximum(self._largest, length), tf.equal(count % WINDOW, 0)
        self._largest.assign(tf.where(over, 0, largest))
        wanted = -(-(largest + largest // 16) // STEP) * STEP
        size = self._size.assign(tf.where(over | (length > size), wanted, size)).read_value()
        return tf.pad(words, [[0, size - length]])
