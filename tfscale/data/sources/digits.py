"""Source for 1,797 handwritten digits, 8x8, which scikit-learn contains, so that a first run needs no network.

References:
    Alpaydin and Kaynak 1998, UCI Optical Recognition of Handwritten Digits (the test set of it).
"""

import numpy as np

from tfscale.data.base import Arrays


def digits(*, test_fraction: float) -> Arrays:
    """Returns x [N, 8, 8, 1] float32, 0..16 scaled to 0..1, and y in 0..9; the split is always the same.

    Args:
        test_fraction: Fraction of the examples for testing, in (0, 1).
    """
    from sklearn.datasets import load_digits  # takes a second, and only this source needs it

    bunch = load_digits()
    x = np.asarray(bunch.images, np.float32)[..., np.newaxis]
    y = np.asarray(bunch.target, np.int32)
    order = np.random.default_rng(0).permutation(len(x))
    test = max(1, round(len(x) * test_fraction))
    return Arrays(x[order[test:]], y[order[test:]], x[order[:test]], y[order[:test]], 1 / 16, 10)
