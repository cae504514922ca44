"""One replica: what it exchanges, and what is its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.in_place import DATA, SMALL, run, with_optimizer
from tfscale.errors import UserError
from tfscale.job.build import Job
from tfscale.specs import ArraySpec, ElementSpec
from tfscale.tasks.classification import Classification
from tfscale.training.replica import Replica

IMAGES = ("model=cnn", "data=synthetic", "data.shape=[8,8,1]", "data.examples=100", "data.test_examples=20")


def test_parameters_hold_trainables_statistics_and_slots(build_job: Callable[..., Job]) -> None:
    with_slots = build_job(*IMAGES, "strategy=local").state.replicas[0]
    without = build_job(*IMAGES, "strategy=local", "strategy.average_optimizer=false").state.replicas[0]
    statistics = 2 * (32 + 64)  # moving mean and variance of two layers
    assert without.parameters().shape[0] == without.layout.size + statistics
    assert with_slots.parameters().shape[0] == 2 * without.layout.size + statistics


def test_assign_puts_parameters_back(build_job: Callable[..., Job]) -> None:
    job = run(build_job(*IMAGES), 3)
    replica = job.state.replicas[0]
    before = replica.parameters()
    replica.assign(tf.zeros_like(before))
    assert not replica.parameters().numpy().any()
    replica.assign(before)
    np.testing.assert_array_equal(replica.parameters(), before)


def test_replicas_start_alike_and_drop_out_apart(build_job: Callable[..., Job]) -> None:
    job = build_job(*SMALL, "model.dropout=0.5", "strategy.replicas=3")
    first, second, third = job.state.replicas
    np.testing.assert_array_equal(first.parameters(), second.parameters())
    x, y = tf.ones([4, 6]), tf.zeros([4], tf.int32)
    losses = [float(each.loss((x, y, tf.ones([4])), training=True)) for each in (first, second, third)]
    assert len(set(losses)) == 3


def test_statistics_of_replicas_are_averaged_for_evaluation(build_job: Callable[..., Job]) -> None:
    job = run(build_job(*IMAGES, "strategy=horovod", "strategy/collective=in_process", "strategy.replicas=2"), 3)
    one, two = (replica.parameters().numpy() for replica in job.state.replicas)
    size = job.layout.size
    assert not np.array_equal(one[size:], two[size:]), "each replica has seen its own data"
    consensus = job.state.consensus().numpy()
    np.testing.assert_array_equal(consensus[:size], one[:size])
    np.testing.assert_allclose(consensus[size:], (one[size:] + two[size:]) / 2, rtol=1e-6)


def twins() -> keras.Model:
    """A model with two kernels called tower/same/kernel."""

    def tower() -> keras.Model:
        return keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, name="same")], name="tower")

    one, two = tower(), tower()
    two.name = "other"
    inputs = keras.Input((6,))
    return keras.Model(inputs, keras.layers.Concatenate()([one(inputs), two(inputs)]))


def test_two_variables_of_one_name_are_refused_before_the_first_step() -> None:
    """A checkpoint is by name and would hold only one of them; the refusal once came with the first save."""
    message = r"the model's variables must have different names, got \S*same/\S* for 2; give the layers different names"
    with pytest.raises(UserError, match=message):
        Replica(
            rank=0,
            device="/CPU:0",
            model=twins,
            optimizer=keras.optimizers.SGD,
            task=Classification(
                ElementSpec(
                    x=ArraySpec(shape=(6,), dtype="float32"), y=ArraySpec(shape=(), dtype="int64", categories=6)
                )
            ),
            batch=4,
            with_slots=False,
        )


@pytest.mark.parametrize("optimizer", ["Nadam", "RMSprop", "Lamb"])
@pytest.mark.usefixtures("build_job")
def test_slots_with_different_paths_keep_them_as_names(tmp_path: Path, optimizer: str) -> None:
    """Checkpoints of earlier versions have these names."""
    job = with_optimizer(tmp_path, f"keras.optimizers.{optimizer}", *DATA, "strategy.replicas=1")
    replica = job.state.replicas[0]
    rate = replica.optimizer.learning_rate
    wanted = {f"optimizer/{each.path}" for each in replica.optimizer.variables if each is not rate}
    assert {name for name in replica.variables() if name.startswith("optimizer/")} == wanted


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets Keras's dtype policy until the test ends, also when a replica begins with a session of its own."""

    def begin(kind: str) -> None:
        monkeypatch.setattr(keras.utils, "clear_session", lambda **_: keras.config.set_dtype_policy(kind))

    yield begin
    monkeypatch.undo()
    keras.utils.clear_session()


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float64"])
def test_variables_that_are_not_float32_are_refused(
    build_job: Callable[..., Job], policy: Callable[[str], None], kind: str
) -> None:
    policy(kind)
    wanted = (
        rf"the model's \S+/kernel must be float32, got {kind}; leave the dtype of its layer out, or give mixed_bfloat16"
    )
    with pytest.raises(UserError, match=wanted):
        build_job(*SMALL, "strategy.replicas=1")


@pytest.mark.parametrize("strategy", ["local", "horovod", "sharing"])
def test_float32_variables_that_compute_in_bfloat16_train(
    build_job: Callable[..., Job], policy: Callable[[str], None], strategy: str
) -> None:
    policy("mixed_bfloat16")
    where = () if strategy == "local" else ("strategy/collective=in_process",)
    job = build_job(*IMAGES, f"strategy={strategy}", *where, "strategy.replicas=2")
    *hidden, head = job.state.replicas[1].model.layers
    assert {layer.compute_dtype for layer in hidden} == {"bfloat16"}
    assert head.compute_dtype == "float32"
    before = job.state.consensus().numpy()
    run(job, 3)
    after = job.state.consensus().numpy()
    assert np.isfinite(after).all()
    assert not np.array_equal(before, after)


def test_weights_scale_the_loss_of_an_example(build_job: Callable[..., Job]) -> None:
    replica = build_job(*SMALL, "strategy.replicas=1", "train.batch=4").state.replicas[0]
    x, y = tf.random.normal([4, 6]), tf.constant([0, 1, 2, 3])
    parts = [float(replica.loss((x, y, tf.one_hot(index, 4)), training=False)) for index in range(4)]
    assert float(replica.loss((x, y, tf.ones([4])), training=False)) == pytest.approx(sum(parts), rel=1e-5)


def test_float16_without_loss_scaling_is_refused(build_job: Callable[..., Job], policy: Callable[[str], None]) -> None:
    policy("mixed_float16")
    with pytest.raises(UserError, match=r"layer \S+ must not compute in float16 .*; type train.precision=float16, or"):
        build_job(*SMALL, "strategy.replicas=1")
