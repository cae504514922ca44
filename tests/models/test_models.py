"""The shipped models: their sizes, and what they say of data they do not take."""

from importlib.resources import files

import numpy as np
import pytest

from tfscale.errors import UserError
from tfscale.models.application import application
from tfscale.models.autoencoder import autoencoder
from tfscale.models.cnn import cnn
from tfscale.models.gru import gru
from tfscale.models.lenet import lenet
from tfscale.models.mlp import mlp
from tfscale.models.siamese import siamese
from tfscale.models.transformer import transformer

MODELS = {
    "mlp": lambda: mlp(input_shape=[8, 8, 1], outputs=10, activation="softmax", hidden=[32], dropout=0.1),
    "lenet": lambda: lenet(input_shape=[28, 28, 1], outputs=10, activation="softmax"),
    "autoencoder": lambda: autoencoder(input_shape=[5, 2], hidden=[6, 3], activation="linear"),
    "siamese": lambda: siamese(
        input_shape={"left": [5, 2], "right": [5, 2]}, hidden=[6], outputs=10, activation="softmax"
    ),
    "cnn": lambda: cnn(input_shape=[8, 8, 3], outputs=10, activation="softmax", filters=[8, 16], dropout=0.0),
    "application": lambda: application(
        name="MobileNet",
        input_shape=[32, 32, 3],
        outputs=10,
        activation="softmax",
        weights=None,
        resize=None,
        pooling="avg",
        dropout=0.0,
        options={"alpha": 0.25},
    ),
    "gru": lambda: gru(input_shape=[6], outputs=10, activation="softmax", vocabulary=12, width=4, units=8),
    "transformer": lambda: transformer(
        input_shape=[6], outputs=10, activation="softmax", vocabulary=12, width=8, heads=2, blocks=2
    ),
}
OF_TEXT = ("gru", "transformer")


def test_every_shipped_model_is_in_the_table() -> None:
    entries = files("tfscale.conf").joinpath("model").iterdir()
    assert {entry.name.removesuffix(".yaml") for entry in entries} == MODELS.keys()


def test_an_autoencoder_returns_the_shape_of_its_input() -> None:
    model = MODELS["autoencoder"]()
    assert model.output_shape == (None, 5, 2)
    assert [layer.units for layer in model.layers if hasattr(layer, "units")] == [6, 3, 6, 10]
    with pytest.raises(UserError, match=r"model.hidden must have the width of the code"):
        autoencoder(input_shape=[5], hidden=[], activation="linear")


def test_a_siamese_network_sees_how_its_inputs_differ() -> None:
    model, one, other = MODELS["siamese"](), np.ones((1, 5, 2), np.float32), np.zeros((1, 5, 2), np.float32)
    same = np.asarray(model({"left": one, "right": one}))
    np.testing.assert_allclose(same, np.asarray(model({"left": other, "right": other})), atol=1e-6)
    ahead, back = (np.asarray(model({"left": a, "right": b})) for a, b in ((one, other), (other, one)))
    np.testing.assert_allclose(ahead, back, atol=1e-6)
    assert np.abs(ahead - same).max() > 1e-3
    with pytest.raises(UserError, match=r"model=siamese must have two inputs of one shape, got \(5, 2\)"):
        siamese(input_shape=[5, 2], hidden=[6], outputs=1, activation="sigmoid")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", sorted(MODELS.keys() - {"autoencoder", "siamese"}))
def test_a_model_gives_probabilities(name: str) -> None:
    model = MODELS[name]()
    random, shape = np.random.default_rng(0), (5, *model.input_shape[1:])
    out = np.asarray(model(random.integers(0, 12, shape) if name in OF_TEXT else random.random(shape, np.float32)))
    assert out.shape == (5, 10)
    np.testing.assert_allclose(out.sum(axis=1), 1, atol=1e-5)


def test_lenet_is_the_tutorials() -> None:
    assert MODELS["lenet"]().count_params() == 431_080


def test_without_hidden_layers_mlp_is_logistic_regression() -> None:
    assert mlp(input_shape=[4], outputs=3, activation="softmax", hidden=[], dropout=0.5).count_params() == 15


@pytest.mark.parametrize("shape", [[8, 8, 1], [28, 28], [784]])
def test_lenet_says_what_images_it_takes(shape: list[int]) -> None:
    with pytest.raises(UserError, match="model=lenet must have images of at least 16x16"):
        lenet(input_shape=shape, outputs=10, activation="softmax")


def test_cnn_drops_only_if_asked() -> None:
    whole, dropping = (
        cnn(input_shape=[8, 8, 3], outputs=10, activation="softmax", filters=[8], dropout=rate) for rate in (0.0, 0.5)
    )
    images = np.ones((2, 8, 8, 3), np.float32)
    assert len(dropping.layers) == len(whole.layers) + 1
    dropping.set_weights(whole.get_weights())
    np.testing.assert_array_equal(dropping(images), whole(images))


@pytest.mark.parametrize("shape", [[2, 2, 1], [64]])
def test_cnn_says_what_images_it_takes(shape: list[int]) -> None:
    with pytest.raises(UserError, match="model=cnn with 2 blocks must have images of at least 4 pixels a side"):
        cnn(input_shape=shape, outputs=10, activation="softmax", filters=[8, 16], dropout=0.0)


@pytest.mark.parametrize("name", OF_TEXT)
def test_a_model_of_text_depends_on_every_id_and_on_their_order(name: str) -> None:
    model, ids = MODELS[name](), np.arange(6)[np.newaxis]
    out = np.asarray(model(ids))
    for position in range(6):
        changed = ids.copy()
        changed[0, position] = 11
        assert np.abs(np.asarray(model(changed)) - out).max() > 0
    swapped = ids[:, [1, 0, 2, 3, 4, 5]]  # attention alone would not see it
    assert np.abs(np.asarray(model(swapped)) - out).max() > 1e-6


@pytest.mark.parametrize("name", OF_TEXT)
def test_a_position_of_a_sequence_depends_on_itself_and_those_before_it(name: str) -> None:
    common = {"input_shape": [6], "outputs": 12, "activation": "softmax", "vocabulary": 12, "width": 4}
    own = {"units": 8} if name == "gru" else {"heads": 2, "blocks": 2}
    model = {"gru": gru, "transformer": transformer}[name](**common, **own, sequence=True)
    ids = np.arange(6)[np.newaxis]
    out = np.asarray(model(ids))
    assert out.shape == (1, 6, 12)
    for position in range(6):
        changed = ids.copy()
        changed[0, position] = 11
        difference = np.abs(np.asarray(model(changed)) - out).max(axis=(0, 2))
        assert (difference > 0).tolist() == [other >= position for other in range(6)]


def test_models_of_text_have_the_sizes_that_conf_names() -> None:
    assert (
        gru(input_shape=[32], outputs=96, activation="softmax", vocabulary=96, width=64, units=256).count_params()
        == 278_112
    )
    big = transformer(input_shape=[32], outputs=96, activation="softmax", vocabulary=96, width=128, heads=4, blocks=2)
    assert big.count_params() == 425_568


@pytest.mark.parametrize(("shape", "vocabulary"), [([28, 28, 1], None), ([64], None), ([4, 4], 7)])
def test_models_of_text_say_what_they_take(shape: list[int], vocabulary: int | None) -> None:
    with pytest.raises(UserError, match=r"model=gru must have rows of ids, .*use data=text or data=shak"):
        gru(input_shape=shape, outputs=10, activation="softmax", vocabulary=vocabulary, width=4, units=8)
    with pytest.raises(
        UserError, match=r"model=transformer must have rows of ids, .*use data=text or data=shakespeare"
    ):
        transformer(
            input_shape=shape, outputs=10, activation="softmax", vocabulary=vocabulary, width=8, heads=2, blocks=1
        )


def test_the_transformers_heads_must_divide_its_width() -> None:
    with pytest.raises(UserError, match=r"model.width must be a multiple of model.heads=3, got 8; give model.width=9"):
        transformer(input_shape=[6], outputs=10, activation="softmax", vocabulary=12, width=8, heads=3, blocks=1)
