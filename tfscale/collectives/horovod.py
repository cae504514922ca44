"""Exchange among processes by Horovod: the only module that imports it.

Processes of one host exchange through memory in compiled steps; see `shared_memory`.

Only Horovod's functional operations are used: its optimizer and tape wrappers do not work with Keras 3 (horovod#4290),
and some fail silently. Every process sends one flat tensor a call: Horovod fuses separate tensors in an order that
differs from run to run with three ranks or more, and one tensor is also the fastest.
"""

import copy
import itertools
import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Literal, final

import tensorflow as tf

from tfscale.collectives.base import RegularGather, added, ranks_of
from tfscale.collectives.bundles import pack, unpack
from tfscale.collectives.padded_buffer import PaddedBuffer
from tfscale.collectives.shared_memory import GONE, SharedMemory, can_be_shared
from tfscale.devices import visible_gpus
from tfscale.errors import HOROVOD_MISSING, RunError, UserError
from tfscale.kernels import library

OURS = "+tfscale"
"""End of the version of a Horovod that scripts/build/horovod.py built."""

CYCLE = "20"
"""Milliseconds between two negotiations of such a Horovod's background thread if no tensor wakes it; each takes every
process a tenth of a millisecond."""


def _import_horovod():
    try:
        import horovod.tensorflow as hvd
    except (ImportError, tf.errors.NotFoundError) as error:
        raise UserError(HOROVOD_MISSING) from error
    return hvd


def transports() -> list[str]:
    """Those of gloo, mpi and nccl that Horovod was built with; fails in many ways if built for another TensorFlow."""
    from horovod.tensorflow import mpi_ops

    built = {"gloo": mpi_ops.gloo_built(), "mpi": mpi_ops.mpi_built(), "nccl": mpi_ops.nccl_built()}
    return [name for name, there in built.items() if there]


def is_collective_failure(error: BaseException) -> bool:
    """True if an exchange failed because of another process, not because of this one."""
    return isinstance(error, tf.errors.OpError | RunError) and any(
        words in str(error) for words in ("Horovod", "gloo", GONE)
    )


@final
class Horovod:
    """Collective of W replicas over P processes; this one holds `ranks`.

    Args:
        replicas: W.
        processes: P, as the launcher started them.
        shared_memory: Exchange through shared memory in compiled steps: True, False, or `auto`, if the processes can
            and do not train on GPUs, for which Horovod may have its own transport.

    Raises:
        UserError: Horovod is not built, or not for this launcher; or shared memory is demanded and impossible.
        RunError: The collective computes a wrong mean of known numbers.
    """

    def __init__(self, *, replicas: int, processes: int, shared_memory: bool | Literal["auto"] = "auto") -> None:
        self._hvd = _import_horovod()
        if version("horovod").endswith(OURS):
            os.environ.setdefault("HOROVOD_CYCLE_TIME", CYCLE)
        self._hvd.init()
        self._names = itertools.count()
        if self._hvd.size() != processes:
            raise UserError(
                f"the launcher started {processes} processes, but Horovod sees {self._hvd.size()}; start them with "
                f"launch.np={processes} or horovodrun, or build Horovod with MPI: "
                "HOROVOD_WITH_MPI=1 python -m tfscale.scripts.build.horovod"
            )
        self._count(replicas, processes)
        self._memory = self._shared_memory(shared_memory)
        self._verify(self.mean)
        self._verify(tf.function(self.mean, autograph=False))

    def _count(self, replicas: int, processes: int) -> None:
        self.size = replicas
        self.ranks = ranks_of(self._hvd.rank(), processes, replicas)
        self._replicas = [len(ranks_of(process, processes, replicas)) for process in range(processes)]

    def of(self, replicas: int) -> "Horovod":
        """See `base.Collective`; both name their calls from one sequence."""
        other = copy.copy(self)
        other._count(replicas, len(self._replicas))
        if self._memory is not None:
            other._memory = self._memory.of(other._replicas)
        return other

    def _shared_memory(self, wanted: bool | Literal["auto"]) -> SharedMemory | None:
        if wanted is False or len(self._replicas) == 1 or (wanted == "auto" and visible_gpus()):
            return None
        if self._hvd.local_size() == self._hvd.size() and can_be_shared(self._all_gather):
            return SharedMemory(process=self._hvd.rank(), replicas=self._replicas, all_gather=self._all_gather)
        if wanted is True:
            raise UserError(
                "strategy.collective.shared_memory=true, but the processes cannot see each other's memory: they must "
                f"run on one Linux host, with the native kernels ({library.BUILD}); set "
                "strategy.collective.shared_memory=auto"
            )
        return None

    def _all_gather(self, numbers: Sequence[int]) -> list[list[int]]:
        """Integers of this process -> those of all, by process; outside of any function."""
        gathered = self._allgather(tf.constant([list(numbers)], tf.int32))
        return gathered.numpy().tolist()

    @property
    def transport(self) -> str:
        """See `base.Collective`."""
        return "through memory that the processes share" if self._memory is not None else "by Horovod"

    def _name(self, what: str) -> str:
        """Names a call alike in all processes, since all make the same calls in the same order.

        Calls outside a graph are over before the next one starts, so they share a name: Horovod keeps every name.
        """
        return f"tfscale.{what}" if tf.executing_eagerly() else f"tfscale.{what}.{next(self._names)}"

    def _verify(self, mean: Callable[[Sequence[tf.Tensor]], tf.Tensor]) -> None:
        """Checks the mean of known numbers: a collective that does not exchange trains W models without an error."""
        got = float(mean([tf.constant([float(rank)]) for rank in self.ranks])[0])
        if abs(got - (self.size - 1) / 2) > 1e-3:
            raise RunError(f"the mean over processes is {got} instead of {(self.size - 1) / 2}: run `tfscale doctor`")

    def mean(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [D] -> [D]: the local sum, one allreduce, one division."""
        total = tf.add_n(list(vectors)) if len(vectors) > 1 else vectors[0]
        if self._memory is not None and not tf.executing_eagerly():
            return self._memory.mean(total)
        return tf.convert_to_tensor(self._hvd.allreduce(total, op=self._hvd.Sum, name=self._name("mean"))) / self.size

    def total(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [D] int8 or float16 -> [D]: the local sum and one allreduce."""
        own = added(vectors)
        if self._memory is not None and not tf.executing_eagerly():  # which adds float32, exact for int8
            total = self._memory.mean(tf.cast(own, tf.float32)) * self.size
            return tf.cast(tf.round(total) if own.dtype.is_integer else total, own.dtype)
        return tf.convert_to_tensor(self._hvd.allreduce(own, op=self._hvd.Sum, name=self._name("total")))

    def gather(self, messages: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """R x [M_r] -> W x [M_w]."""
        if self._memory is not None and not tf.executing_eagerly():
            return self._memory.gather(messages)
        return _unframed(self._allgather(_framed(messages)), self.size)

    def regular_gather(self) -> RegularGather:
        """Returns a gather from a padded buffer a process; see `padded_buffer`."""
        if self._memory is not None:
            return self.gather
        buffer = PaddedBuffer()

        def gather(messages: Sequence[tf.Tensor]) -> list[tf.Tensor]:
            padded = buffer.pad(_framed(messages))
            buffers = _unframed(self._allgather(_framed([padded])), len(self._replicas))
            gathered = [_unframed(words, replicas) for words, replicas in zip(buffers, self._replicas, strict=True)]
            return list(itertools.chain.from_iterable(gathered))

        return gather

    def _allgather(self, words: tf.Tensor) -> tf.Tensor:
        return tf.convert_to_tensor(self._hvd.allgather(words, name=self._name("gather")))

    def all_to_all(self, bundles: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """R bundles to all -> R bundles from all: one exchange of every process with every other."""
        processes = len(self._replicas)
        if processes == self.size:  # bundles are what Horovod sends and brings, lengths apart
            words, lengths = self._exchanged(bundles[0][processes:], bundles[0][:processes])
            return [tf.concat([lengths, words], axis=0)]
        opened = [unpack(bundle, self.size) for bundle in bundles]
        ends = list(itertools.accumulate(self._replicas))
        parcels = [
            _framed([message for messages in opened for message in messages[end - count : end]])
            for end, count in zip(ends, self._replicas, strict=True)
        ]
        words, _ = self._exchanged(tf.concat(parcels, axis=0), tf.stack([tf.size(parcel) for parcel in parcels]))
        own = len(self.ranks)
        received = _unframed(words, self.size * own, of_each=own)  # by sender, then by receiver
        return [pack(received[number::own]) for number in range(own)]

    def _exchanged(self, words: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        received, counts = self._hvd.alltoall(words, splits=lengths, name=self._name("bundles"))
        return tf.ensure_shape(received, [None]), tf.ensure_shape(counts, [len(self._replicas)])

    def broadcast(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [D] -> rank 0's [D]; rank 0 lives in process 0."""
        return self._hvd.broadcast(vectors[0], root_rank=0, name=self._name("broadcast"))


def _framed(messages: Sequence[tf.Tensor]) -> tf.Tensor:
    """Concatenates messages [M], each behind a word with its length."""
    return tf.concat([part for message in messages for part in (tf.size(message)[tf.newaxis], message)], axis=0)


def _unframed(words: tf.Tensor, count: int, *, of_each: int = 1) -> list[tf.Tensor]:
    """Cuts out the first `count` messages of `_framed`, so many of each rank.

    Raises:
        tf.errors.InvalidArgumentError: A length is wrong.
    """
    messages, start = [], tf.constant(0)
    for number in range(count):
        end = start + 1 + words[start]
        good = (end > start) & (end <= tf.size(words))
        wrong = f"tfscale: the message of rank {number // of_each} is damaged: its length is wrong"
        checked = tf.debugging.Assert(good, [wrong])
        with tf.control_dependencies([] if checked is None else [checked]):
            end = tf.identity(end)
        messages.append(words[start + 1 : end])
        start = end
    return messages
