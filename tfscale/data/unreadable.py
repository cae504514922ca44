"""Names the examples that cannot be read, of every split and wherever they are read.

An error of TensorFlow has the stack of a graph, and neither a file nor a line. So the examples of the batch that failed
are read again, one by one.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import final

import tensorflow as tf

from tfscale.data.base import Batch, Examples
from tfscale.errors import UserError, informative_line


@final
class NamedBatches:
    """Batches of a dataset; iterating raises a `UserError` that names the example that cannot be read.

    Args:
        batches: In their order.
        fault: Number of a batch, from 0, that cannot be read -> the name and the fault of its first example that
            cannot; None if all can be.
    """

    def __init__(self, batches: Iterable[Batch], fault: Callable[[int], str | None]) -> None:
        self.batches, self._fault = batches, fault

    def __iter__(self) -> Iterator[Batch]:
        """Returns the batches.

        Raises:
            UserError: An example cannot be read.
        """
        batches, number = iter(self.batches), 0
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except tf.errors.OpError as error:
                named = self._fault(number)
                if named is None:
                    raise
                raise UserError(f"data: {named}") from error
            yield batch
            number += 1


def first_unreadable(examples: Examples, indices: Iterable[int]) -> str | None:
    """Returns the name and the fault of the first of some examples that cannot be read; None if all can be."""
    for index in indices:
        try:
            examples.read(tf.constant([index], tf.int64))
        except Exception as error:  # noqa: BLE001 - whatever reading raises names what is wrong
            name, fault = examples.name(int(index)), informative_line(error)
            return fault if fault.startswith(name) else f"{name} cannot be read: {fault}"
    return None
