"""The shipped models: their sizes, and what they say of data they do not take."""

from importlib.resources import files

import numpy as np
import pytest

from tfscale.errors import UserError
from tfscale.models.cnn import cnn
from tfscale.models.lenet import lenet
from tfscale.models.mlp import mlp

MODELS = {
    "mlp": lambda: mlp(input_shape=[8, 8, 1], classes=10, hidden=[32], dropout=0.1),
    "lenet": lambda: lenet(input_shape=[28, 28, 1], classes=10),
    "cnn": lambda: cnn(input_shape=[8, 8, 3], classes=10, filters=[8, 16]),
}


def test_every_shipped_model_is_in_the_table() -> None:
    entries = files("tfscale.conf").joinpath("model").iterdir()
    assert {entry.name.removesuffix(".yaml") for entry in entries} == MODELS.keys()


@pytest.mark.parametrize("name", MODELS)
def test_a_model_gives_probabilities(name: str) -> None:
    model = MODELS[name]()
    out = np.asarray(model(np.random.default_rng(0).random((5, *model.input_shape[1:]), np.float32)))
    assert out.shape == (5, 10)
    np.testing.assert_allclose(out.sum(axis=1), 1, atol=1e-5)


def test_lenet_is_the_tutorials() -> None:
    assert MODELS["lenet"]().count_params() == 431_080


def test_without_hidden_layers_mlp_is_logistic_regression() -> None:
    assert mlp(input_shape=[4], classes=3, hidden=[], dropout=0.5).count_params() == 15


@pytest.mark.parametrize("shape", [[8, 8, 1], [28, 28], [784]])
def test_lenet_says_what_images_it_takes(shape: list[int]) -> None:
    with pytest.raises(UserError, match="model=lenet must have images of at least 16x16"):
        lenet(input_shape=shape, classes=10)


@pytest.mark.parametrize("shape", [[2, 2, 1], [64]])
def test_cnn_says_what_images_it_takes(shape: list[int]) -> None:
    with pytest.raises(UserError, match="model=cnn with 2 blocks must have images of at least 4 pixels a side"):
        cnn(input_shape=shape, classes=10, filters=[8, 16])
