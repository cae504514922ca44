"""Batches of data, as replicas get them."""

import itertools

import numpy as np

from tfscale.data.base import Data, Shard

Step = list[tuple[np.ndarray, np.ndarray, np.ndarray]]


def steps(data: Data, size: int, *, batch: int, count: int, seed: int = 7, start: int = 0) -> list[Step]:
    """Returns the (x, y, weight) of all replicas, for some steps of data with one input and one target."""
    feeds = [data.train(Shard(rank, size), batch=batch, seed=seed, start=start, prefetch=2) for rank in range(size)]
    return [
        [tuple(np.asarray(part) for part in each) for each in parts]
        for parts in itertools.islice(zip(*feeds, strict=True), count)
    ]


def examples(taken: list[Step]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns (x, y) of every example that has a weight, in the order of steps and replicas."""
    return [
        (x, y)
        for step in taken
        for xs, ys, weights in step
        for x, y, weight in zip(xs, ys, weights, strict=True)
        if weight > 0
    ]


def same(one: list[Step], other: list[Step]) -> bool:
    """Returns whether two lists of steps are the same, bit for bit."""
    return len(one) == len(other) and all(
        np.array_equal(a, b)
        for left, right in zip(one, other, strict=True)
        for first, second in zip(left, right, strict=True)
        for a, b in zip(first, second, strict=True)
    )
