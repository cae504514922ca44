"""Source of random examples of any size, for benchmarks and tests; its accuracy means nothing."""

from collections.abc import Sequence

import numpy as np

from tfscale.data.base import Arrays


def synthetic(
    *, examples: int, test_examples: int, shape: Sequence[int], classes: int, noise: float, seed: int
) -> Arrays:
    """Returns one Gaussian cloud for each class, around a random centre.

    Args:
        examples: Number of training examples.
        test_examples: Number of test examples.
        shape: Shape of one x.
        classes: Number of classes.
        noise: Standard deviation within a class; that of the centres is 1.
        seed: Seed of centres and examples.
    """
    random = np.random.default_rng(seed)
    centres = random.standard_normal((classes, *shape), np.float32)
    y = random.integers(0, classes, examples + test_examples, dtype=np.int32)
    x = centres[y] + noise * random.standard_normal((len(y), *shape), np.float32)
    return Arrays(x[:examples], y[:examples], x[examples:], y[examples:], 1.0, classes)
