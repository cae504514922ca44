"""Frozen tensors keep their bits, and cost neither bytes nor optimizer slots under any strategy."""

import itertools
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.support.checkpoints import everything, saved
from tests.support.in_place import VARIANTS, of_replica, parameters, run, stepping
from tests.support.marks import quick
from tfscale.errors import UserError
from tfscale.job.build import Job
from tfscale.training.freezing import freeze, frozen_variables

IMAGES = ("data=synthetic", "data.shape=[8,8,1]", "data.examples=100", "data.test_examples=20", "train.batch=8")
CNN = ("model=cnn", "model.filters=[4,8]", *IMAGES)
BASE = "model.freeze=['conv*','batch*']"

CHECKED = quick(
    ["local", "horovod", "sharing", "sharing updates", "horovod_averaging", "local, slots apart"],
    only=["local", "sharing"],
)


def model() -> keras.Model:
    """A base with batch normalization, called base, and a dense layer called head."""
    base = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(5, name="first"), keras.layers.BatchNormalization(name="norm")],
        name="base",
    )
    inputs = keras.Input((6,))
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(base(inputs)))


def names(variables: list[keras.Variable]) -> list[str]:
    return ["/".join(variable.path.split("/")[-2:]) for variable in variables]


@pytest.mark.parametrize("name", CHECKED)
def test_frozen_tensors_keep_their_bits_and_the_rest_learns(build_job: Callable[..., Job], name: str) -> None:
    """Statistics of batch normalization in frozen layers are among them."""
    job = build_job(*CNN, BASE, *VARIANTS[name])
    before = [of_replica(job, index) for index in range(2)]
    run(job, 6)
    frozen = job.state.replicas[0].frozen_names
    assert len(frozen) == 2 * 5
    for index in range(2):
        after = of_replica(job, index)
        for each in frozen:
            np.testing.assert_array_equal(after[each], before[index][each], err_msg=each)
        (kernel,) = [each for each in after if each.startswith("model/") and each.endswith("dense/kernel")]
        assert not np.array_equal(after[kernel], before[index][kernel])


@pytest.mark.parametrize("name", CHECKED)
def test_a_frozen_base_costs_what_the_head_alone_costs(build_job: Callable[..., Job], name: str) -> None:
    _require_costs_of_the_head(build_job, VARIANTS[name], (*CNN, BASE), features=8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sharing", "horovod"])
def test_a_frozen_mobile_net_costs_what_the_head_alone_costs(build_job: Callable[..., Job], name: str) -> None:
    net = ("model=application", "model.name=MobileNetV2", "+model.options.alpha=0.35", "model.resize=[32,32]")
    _require_costs_of_the_head(build_job, VARIANTS[name], (*net, "model.freeze=[base]", *IMAGES), features=1280)


def _require_costs_of_the_head(
    build_job: Callable[..., Job], strategy: tuple[str, ...], words: tuple[str, ...], *, features: int
) -> None:
    """The model of the head alone is one dense layer on the features: the same D, bytes and optimizer state."""
    alone = ("model=mlp", "model.hidden=[]", "data=synthetic", f"data.shape=[{features}]", *IMAGES[2:])
    size = (features + 1) * 10
    # In sharing, all tensors are small ones, which are sent whole: messages of one length.
    own = (*strategy, *((f"strategy.min_size={size + 1}",) * ("strategy=sharing" in strategy)))
    whole, head = (run(build_job(*each, *own), 6) for each in (words, alone))
    assert whole.layout.size == head.layout.size == size
    assert parameters(whole)[0].shape == parameters(head)[0].shape
    sizes = [
        sorted(value.size for key, value in of_replica(job, 0).items() if not key.startswith("model/"))
        for job in (whole, head)
    ]
    assert sizes[0] == sizes[1]
    sent = [int(job.state.strategy.measurements()["bytes_sent"]) for job in (whole, head)]
    assert sent[0] == sent[1] > 0


@pytest.mark.parametrize("name", quick(["local", "sharing"], only=["sharing"]))
def test_a_frozen_base_is_saved_once_and_resumes_bit_for_bit(
    build_job: Callable[..., Job], tmp_path: Path, name: str
) -> None:
    words = (*CNN, BASE, *VARIANTS[name])
    job = build_job(*words)
    for number, _ in enumerate(itertools.islice(stepping(job), 6), start=1):
        if number == 3:
            checkpoints = saved(job, tmp_path)
            assert set(job.state.replicas[0].frozen_names) <= set(job.state.common_names())
    straight = everything(job)
    resumed = build_job(*words)
    resumed.state.replicas[0].assign(resumed.state.replicas[0].parameters() * 0)
    checkpoints.restore(resumed.state, 3)
    got = everything(run(resumed, 3))
    assert got.keys() == straight.keys()
    for key, value in got.items():
        np.testing.assert_array_equal(value, straight[key], err_msg=key)


def test_a_layer_is_frozen_with_its_statistics() -> None:
    net = model()
    freeze(net, ["base"])
    assert names(net.trainable_variables) == ["head/kernel", "head/bias"]
    assert names(frozen_variables(net)) == [
        *("first/kernel", "first/bias", "norm/gamma", "norm/beta", "norm/moving_mean", "norm/moving_variance")
    ]
    before = [variable.numpy() for variable in frozen_variables(net)]
    net(np.random.default_rng(0).standard_normal((16, 6)).astype(np.float32) + 3, training=True)
    for variable, value in zip(frozen_variables(net), before, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize(
    ("patterns", "trains", "frozen"),
    [
        (["*/bias"], ["first/kernel", "norm/gamma", "norm/beta", "head/kernel"], ["first/bias", "head/bias"]),
        (["*norm/*", "head"], ["first/kernel", "first/bias"], None),
        (["*norm/gamma"], ["first/kernel", "first/bias", "norm/beta", "head/kernel", "head/bias"], ["norm/gamma"]),
        (["fir*", "h??d"], ["norm/gamma", "norm/beta"], ["first/kernel", "first/bias", "head/kernel", "head/bias"]),
    ],
)
def test_patterns_name_layers_and_variables(patterns: list[str], trains: list[str], frozen: list[str] | None) -> None:
    """All variables of a layer together are the layer: its statistics stay, too."""
    net = model()
    freeze(net, patterns)
    assert names(net.trainable_variables) == trains
    wanted = frozen or [
        *("norm/gamma", "norm/beta", "norm/moving_mean", "norm/moving_variance", "head/kernel", "head/bias")
    ]
    assert names(frozen_variables(net)) == wanted


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (
            ["basee"],
            r"model.freeze must match a layer or variable, got basee; did you mean base\? layers: .*base.*head",
        ),
        (["zzz"], r"model.freeze must match a layer or variable, got zzz; layers: "),
        (["*"], r"model.freeze must leave a variable to train, got \['\*'\]; name fewer layers"),
        (
            ["*moving_mean"],
            r"model.freeze must name layers or weights, got \*moving_mean, which matches the statistic \S*norm/moving",
        ),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused(patterns: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        freeze(model(), patterns)


def test_a_model_with_nothing_to_train_is_refused() -> None:
    with pytest.raises(UserError, match=r"must leave a variable to train, but the model has none; add a layer"):
        freeze(keras.Sequential([keras.Input((3,)), keras.layers.Flatten()]), [])


def test_what_a_models_own_function_freezes_is_frozen() -> None:
    net = model()
    net.get_layer("base").trainable = False
    freeze(net, [])
    assert len(frozen_variables(net)) == 6
