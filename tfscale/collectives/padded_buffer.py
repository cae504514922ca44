"""Room for messages whose lengths change from step to step.

Horovod remembers the shapes of a collective. While every process comes with the shapes of the last time, they agree by
one bit each; otherwise all describe theirs to rank 0, which tells all what to do: four more rounds over the network, a
third of an exchange's time on loopback. So a process sends its messages in a room that rarely changes its size. What
a strategy counts as sent is its messages; this room, like Horovod's own talk and TCP's headers, is the transport's.
"""

from typing import final

import tensorflow as tf

WINDOW = 64
"""Messages after which the room is made as small as they allow."""

STEP = 16
"""A room is a multiple of so many words."""


@final
class PaddedBuffer(tf.Module):
    """The room of one process."""

    def __init__(self) -> None:
        super().__init__()
        self._size, self._largest, self._count = (tf.Variable(tf.constant(0), trainable=False) for _ in range(3))

    def put(self, words: tf.Tensor) -> tf.Tensor:
        """[n] int32 -> [n or more], zeros at the end.

        The room grows as soon as something does not fit, and is fitted to the largest of WINDOW messages after them;
        both times it gets a sixteenth more than what was seen, so that the next ones fit.
        """
        length, buffer = tf.size(words), self._size.read_value()
        count = self._count.assign_add(1).read_value()
        largest, over = tf.maximum(self._largest, length), tf.equal(count % WINDOW, 0)
        self._largest.assign(tf.where(over, 0, largest))
        wanted = -(-(largest + largest // 16) // STEP) * STEP
        buffer = self._size.assign(tf.where(over | (length > buffer), wanted, buffer)).read_value()
        return tf.pad(words, [[0, buffer - length]])
