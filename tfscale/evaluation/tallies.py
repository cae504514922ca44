"""Counts of keys, such as pairs of classes: a set of examples without their order."""

import numpy as np


def of(keys: np.ndarray, counts: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct keys, sorted, and how often each occurs.

    Args:
        keys: [n] or [n, columns].
        counts: [n] int64, or [n, ...] for several; None for 1.

    Returns:
        Keys [k] or [k, columns], and counts [k] or [k, ...] int64.
    """
    counts = np.ones(len(keys), np.int64) if counts is None else counts
    if not len(keys):
        return keys, counts
    order = np.argsort(keys, kind="stable") if keys.ndim == 1 else np.lexsort(keys.T[::-1])
    keys, counts = keys[order], counts[order]
    differs = keys[1:] != keys[:-1]
    starts = np.flatnonzero(np.concatenate([[True], differs if keys.ndim == 1 else differs.any(axis=1)]))
    return keys[starts], np.add.reduceat(counts, starts, axis=0)


def merged(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the keys and counts of both."""
    return of(np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]]))
