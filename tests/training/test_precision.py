"""Computation in 16 bits: outputs, gradients and the loss scale, which is one for all replicas."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.checkpoints import alone, saved
from tests.support.in_place import SMALL, STRATEGIES, VARIANTS, parameters, run
from tests.support.marks import quick
from tfscale.config.preflight import check_job, preflight
from tfscale.data.base import Shard, Split
from tfscale.errors import UserError
from tfscale.job.build import Job
from tfscale.training.precision import GROWTH_STEPS, INITIAL, LossScale, dtype_policy

HALF = (*SMALL, "train.precision=float16", "train.batch=16")


def scale_of(job: Job) -> float:
    assert job.state.loss_scale is not None
    return float(job.state.loss_scale.value)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", quick([*STRATEGIES, "sharing updates"], only=["sharing", "local"]))
def test_layers_compute_in_16_bits_and_learn(build_job: Callable[..., Job], name: str, precision: str) -> None:
    job = build_job(*SMALL, "train.batch=16", "data.noise=0.3", *VARIANTS[name], f"train.precision={precision}")
    *hidden, head = job.state.replicas[0].model.layers
    assert {layer.compute_dtype for layer in hidden} == {precision}
    assert head.compute_dtype == "float32"
    assert {variable.dtype for variable in job.state.replicas[0].model.trainable_variables} == {"float32"}
    before = job.evaluator(job.state.consensus(), Split.TEST)["loss"]
    run(job, 60)
    assert job.evaluator(job.state.consensus(), Split.TEST)["loss"] < before / 2


def test_gradients_that_float16_rounds_to_zero_are_scaled_into_its_range(build_job: Callable[..., Job]) -> None:
    replica = build_job(*HALF, "strategy.replicas=1").state.replicas[0]
    batch = (tf.ones([4, 6]), tf.constant([0, 1, 2, 3]), tf.fill([4], 1e-7))
    (lost, *_), (kept, *_) = (replica.gradients(batch, tf.constant(scale))[1] for scale in (1.0, 2.0**15))
    assert not lost.numpy().any()
    assert np.count_nonzero(kept) > kept.shape[0]


def test_the_scale_changes_no_gradient_that_fits(build_job: Callable[..., Job]) -> None:
    replica = build_job(*SMALL, "strategy.replicas=1").state.replicas[0]
    batch = (tf.random.normal([4, 6]), tf.constant([0, 1, 2, 3]), tf.ones([4]))
    loss, plain = replica.gradients(batch)
    scaled_loss, scaled = replica.gradients(batch, tf.constant(2.0**15))
    assert float(loss) == float(scaled_loss)
    for one, other in zip(plain, scaled, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "name", quick([*STRATEGIES, "sharing updates", "sharing a step later"], only=["local", "sharing"])
)
def test_an_overflow_is_skipped_and_halves_the_scale_of_all_replicas(build_job: Callable[..., Job], name: str) -> None:
    """With parameter averaging, at the next averaging, when all processes know of it."""
    job = build_job(*HALF, *VARIANTS[name])
    assert scale_of(job) == INITIAL
    assert job.state.loss_scale is not None
    job.state.loss_scale.value.assign(2.0**100)
    run(job, 8)
    assert 2.0**90 < scale_of(job) < 2.0**100
    assert np.log2(scale_of(job)) % 1 == 0
    assert int(job.state.strategy.measurements()["skipped_steps"]) > 0
    assert np.isfinite(parameters(job)).all()


def test_a_scale_rises_after_many_finite_steps_and_falls_with_a_skipped_one() -> None:
    scale = LossScale()
    scale.update(tf.constant(3, tf.int64))
    assert float(scale.value) == INITIAL / 2
    for _ in range(GROWTH_STEPS - 1):
        scale.update(tf.constant(3, tf.int64))
    assert float(scale.value) == INITIAL / 2
    scale.update(tf.constant(3, tf.int64))
    assert float(scale.value) == INITIAL


def test_a_resumed_run_keeps_the_scale(build_job: Callable[..., Job], tmp_path: Path) -> None:
    job = build_job(*HALF, *VARIANTS["sharing"])
    assert job.state.loss_scale is not None
    job.state.loss_scale.value.assign(2.0**9)
    saved(run(job, 2), tmp_path)
    resumed = build_job(*HALF, *VARIANTS["sharing"])
    alone(tmp_path).restore(resumed.state, 2)
    assert scale_of(resumed) == 2.0**9


def test_the_user_s_policy_is_back_after_a_model_is_built() -> None:
    before = keras.config.dtype_policy().name
    with dtype_policy("float16"):
        assert keras.config.dtype_policy().name == "mixed_float16"
    assert keras.config.dtype_policy().name == before
    with dtype_policy("float32"):
        assert keras.config.dtype_policy().name == before


def test_metrics_of_16_bit_outputs_are_computed_in_float32(build_job: Callable[..., Job]) -> None:
    job = build_job(*HALF, "strategy.replicas=1")
    keras.config.set_dtype_policy("mixed_float16")
    try:
        job.state.replicas[0].model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(10)])
    finally:
        keras.config.set_dtype_policy("float32")
    x = next(iter(job.data.train(Shard(0, 1), batch=4, seed=1, start=0, prefetch=1)))[0]
    assert job.state.replicas[0].model(x).dtype == tf.float16
    assert job.state.replicas[0].outputs(x, training=False).dtype == tf.float32


@pytest.mark.parametrize("policy", ["rollback", "abort"])
def test_float16_needs_steps_to_be_skipped(policy: str) -> None:
    config = preflight(["train.precision=float16", f"train.nonfinite={policy}"], config_dir=None)
    with pytest.raises(UserError, match=rf"train.precision=float16 must have train.nonfinite=skip, got {policy}"):
        check_job(config, processes=1)


@pytest.mark.usefixtures("build_job")
def test_a_strategy_that_does_not_count_skipped_steps_is_refused(
    build_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfscale.strategies.parameter_averaging.strategy import ParameterAveraging

    monkeypatch.setattr(ParameterAveraging, "measurements", lambda self: {})
    with pytest.raises(
        UserError, match=r"train.precision=float16 needs a strategy that measures skipped_steps, as Par"
    ):
        build_job(*HALF, "strategy=local")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_penalties_on_outputs_of_16_bits_are_added_in_float32(build_job: Callable[..., Job], precision: str) -> None:
    """Keras computes an activity regularizer in the layer's own precision."""
    replica = build_job(*SMALL, "strategy.replicas=1", f"train.precision={precision}").state.replicas[0]
    hidden = next(layer for layer in replica.model.layers if isinstance(layer, keras.layers.Dense))
    hidden.activity_regularizer = keras.regularizers.L2(0.1)
    loss, _ = replica.gradients((tf.ones([4, 6]), tf.constant([0, 1, 2, 3]), tf.zeros([4])))
    assert loss.dtype == tf.float32
    assert float(loss) > 0
