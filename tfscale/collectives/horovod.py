"""Exchange among processes by Horovod: the only module that imports it.

Processes of one host have a shorter way for what happens in compiled steps: see `shared_memory`.

Only Horovod's functional ops are used: its optimizer and tape wrappers do not work with Keras 3 (horovod#4290), some of
them silently. Every process sends one flat tensor a call: separate tensors are fused in an order that differs from run
to run from three ranks up, and one tensor a step is also the fastest.
"""

import itertools
import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Literal, final

import tensorflow as tf

from tfscale.collectives.base import RegularGather, ranks_of
from tfscale.collectives.padded_buffer import PaddedBuffer
from tfscale.collectives.shared_memory import GONE, SharedMemory, can_be_shared
from tfscale.devices import visible_gpus
from tfscale.errors import HOROVOD_MISSING, RunError, UserError
from tfscale.kernels import library

OURS = "+tfscale"
"""How the version of a Horovod ends that scripts/build/horovod.py has built."""

CYCLE = "20"
"""Milliseconds after which the background thread of such a Horovod asks the others even if no tensor has woken it: each
question takes every process a tenth of a millisecond."""


def _import_horovod():
    try:
        import horovod.tensorflow as hvd
    except (ImportError, tf.errors.NotFoundError) as error:
        raise UserError(HOROVOD_MISSING) from error
    return hvd


def transports() -> list[str]:
    """What Horovod was built with, of gloo, mpi and nccl; fails in many ways if built for another TensorFlow."""
    from horovod.tensorflow import mpi_ops

    built = {"gloo": mpi_ops.gloo_built(), "mpi": mpi_ops.mpi_built(), "nccl": mpi_ops.nccl_built()}
    return [name for name, there in built.items() if there]


def is_collective_failure(error: BaseException) -> bool:
    """Whether an exchange failed because of another process, and not because of what this one did."""
    return isinstance(error, tf.errors.OpError | RunError) and any(
        word in str(error) for word in ("Horovod", "gloo", GONE)
    )


@final
class Horovod:
    """W replicas over P processes; this one holds `ranks`.

    Args:
        replicas: W.
        processes: How many the launcher says there are.
        shared_memory: Whether compiled steps exchange through memory that the processes share: True, False, or `auto`,
            if they can and do not train on GPUs, for which Horovod may have ways of its own.

    Raises:
        UserError: Horovod is not built, or not for this launcher; or memory is to be shared and cannot be.
        RunError: The collective does not compute what it should (checked once, here).
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
        self.size = replicas
        self.ranks = ranks_of(self._hvd.rank(), processes, self.size)
        self._held = [len(ranks_of(process, processes, self.size)) for process in range(processes)]
        self._memory = self._shared_memory(shared_memory)
        self._verify(self.mean)
        self._verify(tf.function(self.mean, autograph=False))

    def _shared_memory(self, wanted: bool | Literal["auto"]) -> SharedMemory | None:
        if wanted is False or len(self._held) == 1 or (wanted == "auto" and visible_gpus()):
            return None
        if self._hvd.local_size() == self._hvd.size() and can_be_shared(self._tell):
            return SharedMemory(process=self._hvd.rank(), held=self._held, tell=self._tell)
        if wanted is True:
            raise UserError(
                "strategy.collective.shared_memory=true, but the processes cannot see each other's memory: they must "
                f"run on one Linux host, with the native kernels ({library.BUILD}); set "
                "strategy.collective.shared_memory=auto"
            )
        return None

    def _tell(self, numbers: Sequence[int]) -> list[list[int]]:
        """Numbers of this process -> those of all, outside of any function."""
        gathered = self._allgather(tf.constant([list(numbers)], tf.int32))
        return gathered.numpy().tolist()

    @property
    def transport(self) -> str:
        """See `base.Collective`."""
        return "through memory that the processes share" if self._memory is not None else "by Horovod"

    def _name(self, what: str) -> str:
        """A name that all processes give to the same call, since all make the same calls in the same order.

        Calls outside a graph are over before the next one starts, so they share a name: Horovod remembers every name.
        """
        return f"tfscale.{what}" if tf.executing_eagerly() else f"tfscale.{what}.{next(self._names)}"

    def _verify(self, mean: Callable[[Sequence[tf.Tensor]], tf.Tensor]) -> None:
        """A collective that does not exchange trains W models and says nothing: look once, with known numbers."""
        got = float(mean([tf.constant([float(rank)]) for rank in self.ranks])[0])
        if abs(got - (self.size - 1) / 2) > 1e-3:
            raise RunError(f"the mean over processes is {got} instead of {(self.size - 1) / 2}: run `tfscale doctor`")

    def mean(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [D] -> [D]: the local sum, one allreduce, one division."""
        total = tf.add_n(list(vectors)) if len(vectors) > 1 else vectors[0]
        if self._memory is not None and not tf.executing_eagerly():
            return self._memory.mean(total)
        return tf.convert_to_tensor(self._hvd.allreduce(total, op=self._hvd.Sum, name=self._name("mean"))) / self.size

    def gather(self, messages: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """R x [M_r] -> W x [M_w]."""
        if self._memory is not None and not tf.executing_eagerly():
            return self._memory.gather(messages)
        return _unframed(self._allgather(_framed(messages)), self.size)

    def regular_gather(self) -> RegularGather:
        """As `gather`, from a room a process; see `room`."""
        if self._memory is not None:
            return self.gather
        buffer = PaddedBuffer()

        def gather(messages: Sequence[tf.Tensor]) -> list[tf.Tensor]:
            buffers = _unframed(self._allgather(_framed([buffer.put(_framed(messages))])), len(self._held))
            gathered = [_unframed(each, replicas) for each, replicas in zip(buffers, self._held, strict=True)]
            return list(itertools.chain.from_iterable(gathered))

        return gather

    def _allgather(self, words: tf.Tensor) -> tf.Tensor:
        return tf.convert_to_tensor(self._hvd.allgather(words, name=self._name("gather")))

    def broadcast(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """R x [D] -> rank 0's [D]; rank 0 lives in process 0."""
        return self._hvd.broadcast(vectors[0], root_rank=0, name=self._name("broadcast"))


def _framed(messages: Sequence[tf.Tensor]) -> tf.Tensor:
    """Messages [M] one after the other, each behind a word with its length."""
    return tf.concat([part for message in messages for part in (tf.size(message)[tf.newaxis], message)], axis=0)


def _unframed(words: tf.Tensor, count: int) -> list[tf.Tensor]:
    """The first `count` messages of `_framed`."""
    messages, start = [], tf.constant(0)
    for number in range(count):
        end = start + 1 + words[start]
        sound = (end > start) & (end <= tf.size(words))
        wrong = f"tfscale: the message of rank {number} is damaged: its length is wrong"
        checked = tf.debugging.Assert(sound, [wrong])
        with tf.control_dependencies([] if checked is None else [checked]):
            end = tf.identity(end)
        messages.append(words[start + 1 : end])
        start = end
    return messages
