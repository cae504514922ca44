"""Made-up examples of any size: for benches, for trying a model's shape, for tests. Says nothing about accuracy."""

from collections.abc import Sequence

import numpy as np

from tfscale.data.base import Arrays


def synthetic(
    *, examples: int, test_examples: int, shape: Sequence[int], classes: int, noise: float, seed: int
) -> Arrays:
    """One Gaussian cloud a class around a random centre.

    Args:
        examples: Number of training examples.
        test_examples: Number of test examples.
        shape: Of one x.
        classes: Number of classes.
        noise: Standard deviation within a class; the centres have 1.
        seed: Of centres and examples.
    """
    random = np.random.default_rng(seed)
    centres = random.standard_normal((classes, *shape), np.float32)
    y = random.integers(0, classes, examples + test_examples, dtype=np.int32)
    x = centres[y] + noise * random.standard_normal((len(y), *shape), np.float32)
    return Arrays(x[:examples], y[:examples], x[examples:], y[examples:], 1.0, classes)
