"""Messages with a checksum, because TCP's own lets some flipped bits through.

A checksummed message ends with a digest of its words that depends on their order: in a plain sum two flipped bits could
cancel out.
"""

from collections.abc import Sequence

import tensorflow as tf

from tfscale import digest
from tfscale.collectives.base import Collective
from tfscale.errors import ExchangeError
from tfscale.majority import majority


def add_checksum(words: tf.Tensor) -> tf.Tensor:
    """[M] int32 -> [M + 1]."""
    return tf.concat([words, _digest(words)[tf.newaxis]], axis=0)


def _digest(words: tf.Tensor) -> tf.Tensor:
    with tf.device("CPU:0"):
        return digest.choose(["CPU:0"])([tf.bitcast(words, tf.float32)])


def verify_checksum(message: tf.Tensor, rank: int) -> tf.Tensor:
    """[M + 1] int32 of a rank -> [M].

    Raises:
        tf.errors.InvalidArgumentError: The message was changed on the way.
    """
    words = message[:-1]
    good = tf.equal(_digest(words), message[-1])
    checked = tf.debugging.Assert(good, [f"tfscale: the message of rank {rank} is damaged: its checksum is wrong"])
    with tf.control_dependencies([] if checked is None else [checked]):
        return tf.identity(words)


def gather_checksummed(collective: Collective, messages: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """R x [M_r] int32 -> W x [M_w], by rank; raises as `verify_checksum` does."""
    gathered = collective.gather([add_checksum(message) for message in messages])
    return [verify_checksum(message, rank) for rank, message in enumerate(gathered)]


def gather_bytes_of(collective: Collective, contents: Sequence[bytes]) -> list[bytes]:
    """R contents, each a multiple of 4 bytes -> W, by rank; outside of a graph.

    Raises:
        ExchangeError: A content was changed on the way.
    """
    own = [add_checksum(tf.io.decode_raw(tf.constant(content), tf.int32)) for content in contents]
    messages = collective.gather(own)
    try:
        return [verify_checksum(message, rank).numpy().tobytes() for rank, message in enumerate(messages)]
    except (tf.errors.OpError, ValueError) as error:
        raise ExchangeError("a message between the processes was damaged on the way") from error


def broadcast_text(collective: Collective, text: str) -> str:
    """Returns rank 0's text in every process. All processes must call it.

    Raises:
        ExchangeError: The text was changed on the way.
    """
    own = text.encode("utf-32-le")
    return gather_bytes_of(collective, [own for _ in collective.ranks])[0].decode("utf-32-le")


def require_equal(
    collective: Collective, digests: Sequence[str], what: str, error: type[Exception] = ExchangeError
) -> None:
    """Returns if all W replicas have the same digest.

    Args:
        collective: Transport of the digests.
        digests: R digests, hexadecimal.
        what: Subject of the error's message, in the plural.
        error: Type of the error if they differ.

    Raises:
        ExchangeError: A digest was changed on the way; or they differ, unless `error` is another type.
    """
    gathered = gather_bytes_of(collective, [bytes.fromhex(each) for each in digests])
    expected = majority(gathered)
    different = [rank for rank, each in enumerate(gathered) if each != expected]
    if different:
        whose = f"those of rank {different[0]} are not those of the others" if len(gathered) > 2 else "by rank"
        raise error(f"{what} differ: {whose}")
