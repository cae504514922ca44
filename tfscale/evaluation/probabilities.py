"""A check that scores are probabilities: thresholds and bins of anything else would be figures without a meaning."""

import numpy as np

from tfscale.evaluation.base import Undefined

NOT_PROBABILITIES = Undefined(
    why="a score is below 0 or above 1, so scores are not probabilities; end the model with a softmax or sigmoid"
)


def outside(scores: np.ndarray) -> np.ndarray:
    """Returns the number of scores below 0 or above 1, [1] int64."""
    return np.array([np.count_nonzero((scores < 0) | (scores > 1))], np.int64)
