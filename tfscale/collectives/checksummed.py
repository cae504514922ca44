"""Messages that say whether they have arrived as they were sent: TCP's own sum lets some flipped bits through.

A sealed message ends with a digest of its words in their places: a plain sum would let two flipped bits cancel out.
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
        tf.errors.InvalidArgumentError: It is not what the rank has sent.
    """
    words = message[:-1]
    good = tf.equal(_digest(words), message[-1])
    checked = tf.debugging.Assert(good, [f"tfscale: the message of rank {rank} is damaged: its sum is wrong"])
    with tf.control_dependencies([] if checked is None else [checked]):
        return tf.identity(words)


def gather_checksummed(collective: Collective, messages: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """R x [M_r] int32 -> W x [M_w], by rank; raises as `unseal` does."""
    gathered = collective.gather([add_checksum(each) for each in messages])
    return [verify_checksum(each, rank) for rank, each in enumerate(gathered)]


def gather_bytes_of(collective: Collective, contents: Sequence[bytes]) -> list[bytes]:
    """R contents, of whole words -> W, by rank; outside of a graph.

    Raises:
        ExchangeError: One is not what its rank has sent.
    """
    messages = collective.gather([add_checksum(tf.io.decode_raw(tf.constant(each), tf.int32)) for each in contents])
    try:
        return [verify_checksum(message, rank).numpy().tobytes() for rank, message in enumerate(messages)]
    except (tf.errors.OpError, ValueError) as error:
        raise ExchangeError("what the processes told each other was damaged on the way") from error


def broadcast_text(collective: Collective, text: str) -> str:
    """The text of the process that holds rank 0, in every process. All processes must call it.

    Raises:
        ExchangeError: It was damaged on the way.
    """
    own = text.encode("utf-32-le")
    return gather_bytes_of(collective, [own for _ in collective.ranks])[0].decode("utf-32-le")


def require_equal(
    collective: Collective, digests: Sequence[str], what: str, error: type[Exception] = ExchangeError
) -> None:
    """Returns if the R digests, of `what`, are those of all W replicas.

    Raises:
        ExchangeError: They are not, or were damaged on the way; `error` in the first case, if it is another.
    """
    gathered = gather_bytes_of(collective, [bytes.fromhex(each) for each in digests])
    expected = majority(gathered)
    different = [rank for rank, each in enumerate(gathered) if each != expected]
    if different:
        whose = f"those of rank {different[0]} are not those of the others" if len(gathered) > 2 else "by rank"
        raise error(f"{what} differ: {whose}")
