"""Gradient accumulation: the parts of a batch give the gradient of the whole."""

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.in_place import SMALL, VARIANTS, parameters, run
from tests.support.marks import quick
from tfscale.config.preflight import check_job, preflight
from tfscale.errors import UserError
from tfscale.job.build import Job
from tfscale.training.accumulation import accumulate


@pytest.mark.parametrize("name", quick(["horovod", "local", "sharing", "sharing updates"], only=["sharing"]))
@pytest.mark.parametrize("parts", quick([2, 3, 16], only=[3]))
def test_parts_give_the_step_of_the_whole_batch(build_job: Callable[..., Job], name: str, parts: int) -> None:
    """Over more than an epoch, so that the ragged last batch (203 = 6 * 32 + 11) is in it."""
    words = (*SMALL, "train.batch=16", *VARIANTS[name], "strategy.replicas=2")
    whole = run(build_job(*words), 8)
    divided = run(build_job(*words, f"train.accumulate={parts}"), 8)
    for one, other in zip(parameters(whole), parameters(divided), strict=True):
        # Sums in another order; a threshold is crossed by the same elements here.
        np.testing.assert_allclose(one, other, atol=2e-6)


def test_regularization_counts_once(build_job: Callable[..., Job]) -> None:
    words = (*SMALL, "strategy.replicas=1", "train.batch=6")
    batch = (tf.random.normal([6, 6]), tf.constant([0, 1, 2, 3, 4, 5]), tf.ones([6]))
    results = []
    for parts in (1, 4):  # of 2 examples, so 3 parts
        replica = build_job(*words, f"train.accumulate={parts}").state.replicas[0]
        replica.model.layers[-1].kernel.regularizer = keras.regularizers.L2(0.1)
        assert float(replica.model.losses[0]) > 0.01
        results.append(replica.gradients(batch))
    (loss, gradients), (divided_loss, divided) = results
    assert float(divided_loss) == pytest.approx(float(loss), rel=1e-6)
    for one, other in zip(gradients, divided, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)


@pytest.mark.parametrize(("examples", "wanted"), [(8, [4, 4]), (7, [4, 3]), (1, [1]), (9, [4, 4, 1])])
def test_every_example_is_in_one_part(examples: int, wanted: list[int]) -> None:
    sizes: list[int] = []

    def note(size: np.ndarray) -> np.ndarray:
        sizes.append(int(size))
        return size

    def gradients(part: tuple, share: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        size = tf.numpy_function(note, [tf.shape(part[2])[0]], tf.int32)
        size.set_shape([])
        total = tf.reduce_sum(part[0]["a"])
        return share * tf.cast(size, tf.float32) ** 0, [tf.reshape(total, [1])]

    @tf.function
    def whole(batch: tuple) -> tuple[tf.Tensor, list[tf.Tensor]]:
        return accumulate(gradients, batch, 4, [like])

    like = tf.Variable([0.0])
    x = tf.range(1.0, examples + 1.0)
    loss, (total,) = whole(({"a": x}, x, x))
    assert sizes == wanted
    assert float(loss) == pytest.approx(1.0)
    assert float(total[0]) == float(tf.reduce_sum(x))


def test_more_parts_than_examples_are_refused() -> None:
    with pytest.raises(UserError, match=r"train.accumulate must be <= train.batch=16, got 17"):
        check_job(preflight(["train.accumulate=17"], config_dir=None), processes=1)
