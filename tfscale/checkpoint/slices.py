"""What all replicas hold alike, cut into as many shards as there are replicas, so that each saves one of them.

Tensors are cut into rows, their first axis; a scalar is in the first shard.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from tfscale.checkpoint.tensor_file import Arrays


def slice_of(values: Mapping[str, ArrayLike], index: int, count: int) -> Arrays:
    """Number `index` of `count` shards, by name: views."""
    arrays = {name: np.asarray(each) for name, each in values.items()}
    rows = {name: each[_part(len(each), index, count)] for name, each in arrays.items() if each.ndim}
    return {**rows, **{name: each for name, each in arrays.items() if not each.ndim and not index}}


def join(shards: Sequence[Arrays]) -> Arrays:
    """What was cut into these shards, by name."""
    first = shards[0]
    return {
        name: np.concatenate([each[name] for each in shards]) if first[name].ndim else first[name] for name in first
    }


def _part(rows: int, index: int, count: int) -> slice:
    return slice(rows * index // count, rows * (index + 1) // count)
