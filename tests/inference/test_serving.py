"""The model with its preprocessing inside gives what the training pipeline and the model give."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.support.marks import quick
from tests.support.trained_models import KINDS, trained
from tfscale.inference.export import metadata
from tfscale.inference.export_formats import output_names
from tfscale.inference.export_samples import samples
from tfscale.inference.serving import plain_layers, serving_model
from tfscale.job.build import Job
from tfscale.specs import leaves

CASES = [(kind, takes_text) for kind in KINDS for takes_text in (True, False)]
QUICK = [("image", True), ("table with categories", True), ("table with gaps", False), ("words", True)]


@pytest.mark.parametrize(("kind", "takes_text"), quick(CASES, only=QUICK))
def test_raw_examples_give_the_outputs_of_the_pipeline(
    kind: str, takes_text: bool, build_job: Callable[..., Job], tmp_path: Path
) -> None:
    model = trained(kind, build_job, tmp_path)
    serving = serving_model(model, takes_text=takes_text)
    tried = samples(model.preprocessing, takes_text=takes_text, wide=True)
    given = {each.name: keras.ops.convert_to_tensor(tried.raw[each.name]) for each in serving.inputs}
    found = serving(given if isinstance(serving.input, dict) else next(iter(given.values())))
    wanted = model.model(tried.prepared, training=False)
    # The operations are the same; a batch may be multiplied in another order.
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-7)
    assert np.ptp(np.asarray(wanted)) > 0, "the examples must differ"


def test_texts_and_categories_are_strings_where_a_format_has_them(
    build_job: Callable[..., Job], tmp_path: Path
) -> None:
    serving = serving_model(trained("table with categories", build_job, tmp_path), takes_text=True)
    assert {each.name: each.dtype for each in serving.inputs} == {"age": "float64", "city": "string"}
    numbers = serving_model(trained("table with categories", build_job, tmp_path), takes_text=False)
    assert [(each.name, each.shape[1:]) for each in numbers.inputs] == [("input", (4,))]


def test_class_names_and_columns_are_metadata(build_job: Callable[..., Job], tmp_path: Path) -> None:
    model = trained("table with categories", build_job, tmp_path)
    found = metadata(model)
    assert found["classes"] == {"output": ("no", "yes")}
    assert found["columns"] == {"input": ("age", "city=Bonn", "city=Oslo", "city=Rome")}
    assert found["task"] == "classification" and found["sha256"] == model.digest


def flipping(nested: bool) -> keras.Model:
    inner = [keras.layers.RandomFlip("horizontal"), keras.layers.Conv2D(2, 3), keras.layers.RandomRotation(0.2)]
    if nested:
        inner = [keras.Sequential([keras.Input((8, 8, 1)), *inner])]
    x = keras.Input((8, 8, 1))
    y: keras.KerasTensor = x
    for layer in inner:
        y = layer(y)
    return keras.Model(x, keras.layers.Dense(3)(keras.layers.Flatten()(y)))


@pytest.mark.parametrize("nested", [False, True])
def test_augmentation_is_taken_out(nested: bool) -> None:
    """A layer such as RandomFlip changes its inputs unless it is told that this is no training."""
    model = flipping(nested)
    plain = plain_layers(model)
    x = np.random.default_rng(0).random((5, 8, 8, 1))
    np.testing.assert_array_equal(plain(x), model(x, training=False))
    assert not any(type(layer).__name__.startswith("Random") for layer in plain._flatten_layers())
    assert [each.path for each in plain.weights if "seed" not in each.path] == [each.path for each in model.weights]


def test_outputs_have_names(build_job: Callable[..., Job], tmp_path: Path) -> None:
    model = trained("image", build_job, tmp_path)
    assert output_names(serving_model(model, takes_text=True)) == ["output"]
    assert list(leaves(model.preprocessing.spec.y or ())) == [""]
