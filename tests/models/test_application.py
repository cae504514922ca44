"""Architectures of keras.applications as a base with a head; each is told what its family expects."""

import importlib
from collections.abc import Callable

import keras
import numpy as np
import pytest

from tests.support.in_place import IN_PROCESS, of_replica, run
from tfscale.errors import UserError
from tfscale.job.build import Job
from tfscale.models.application import application, architectures

SMALL = ("model=application", "model.name=MobileNet", "+model.options.alpha=0.25", "model.resize=[32,32]")
FAMILIES = {
    "MobileNet": {"alpha": 0.25},
    "MobileNetV2": {"alpha": 0.35},
    "MobileNetV3Small": {"minimalistic": True},
    "ResNet50": {},
    "EfficientNetB0": {},
    "VGG16": {},
    "DenseNet121": {},
}
"""One of each way to scale inputs, and more."""

SLOW = FAMILIES.keys() - {"MobileNet", "ResNet50"}


def made(name: str = "MobileNet", **changed: object) -> keras.Model:
    values = dict(weights=None, input_shape=[32, 32, 3], outputs=4, activation="softmax", resize=None)
    values |= dict(pooling="avg", dropout=0.0, options={"alpha": 0.25})
    return application(name=name, **{**values, **changed})  # pyright: ignore[reportArgumentType]


def test_there_are_architectures() -> None:
    assert len(architectures()) >= 38
    assert FAMILIES.keys() < architectures().keys()


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in FAMILIES])
def test_inputs_from_0_to_1_reach_the_base_as_it_expects_them(name: str) -> None:
    keras.utils.clear_session()
    net = made(name, options=FAMILIES[name])
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    family = importlib.import_module(architectures()[name].__module__)
    wanted = family.preprocess_input(images.copy() * 255)
    base = net.get_layer("base")
    got = keras.Model(net.input, base._inbound_nodes[-1].input_tensors[0])(images)
    np.testing.assert_allclose(got, wanted, atol=1e-3)
    out = np.asarray(net(images))
    assert out.shape == (2, 4)
    np.testing.assert_allclose(out.sum(axis=1), 1, atol=1e-5)


def test_the_base_is_called_base_and_the_last_layer_head() -> None:
    net = made(dropout=0.5, pooling="max")
    assert net.layers[-1].name == "head"
    assert [type(layer).__name__ for layer in net.layers[-4:]] == [
        *("Functional", "GlobalMaxPooling2D", "Dropout", "Dense")
    ]
    assert net.layers[-4].name == "base"


def test_images_of_one_channel_become_three_equal_ones() -> None:
    keras.utils.clear_session()
    grey, colour = made(input_shape=[8, 8, 1], resize=[32, 32]), made(input_shape=[8, 8, 3], resize=[32, 32])
    colour.set_weights(grey.get_weights())
    images = np.random.default_rng(0).random((2, 8, 8, 1), np.float32)
    np.testing.assert_array_equal(grey(images), colour(np.repeat(images, 3, axis=-1)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"name": "mobilenetv2"},
            r"model.name must be an architecture of keras.applications, got mobilenetv2; did you",
        ),
        ({"name": "ResNet5"}, r"got ResNet5; did you mean ResNet50"),
        ({"name": "os"}, r"got os; it must be one of ConvNeXtBase, "),
        (
            {"options": {"alfa": 1}},
            r"model.options.alfa must be an option of MobileNet, got alfa; did you mean alpha\?",
        ),
        ({"options": {"weights": "x"}}, r"model.options.weights must be left out: it is the key model.weights"),
        ({"input_shape": [64]}, r"must have images of 1 or 3 channels, got input shape \(64,\)"),
        ({"input_shape": [8, 8, 3]}, r"cannot make MobileNet for images of 8x8: .*set model.resize=\[HEIGHT,WIDTH\]"),
    ],
)
def test_what_it_cannot_build_is_one_message(changed: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        made(**changed)


@pytest.mark.slow
def test_a_frozen_base_costs_what_the_head_alone_costs(build_job: Callable[..., Job]) -> None:
    """1.0 MB of MobileNet stay where they are; what is exchanged and remembered is 256 x 10 + 10 numbers."""
    words = (*SMALL, "model.freeze=[base]", "train.batch=4", "strategy=sharing", IN_PROCESS, "strategy.replicas=2")
    job = build_job(*words)
    before = of_replica(job, 1)
    run(job, 2)
    after = of_replica(job, 1)
    assert job.layout.names == ("head/kernel", "head/bias")
    assert job.layout.size == int(job.state.replicas[0].parameters().shape[0]) == 2570
    for name in job.state.replicas[1].frozen_names:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    state = sum(value.size for name, value in after.items() if not name.startswith("model/"))
    assert state < 4 * 2570
