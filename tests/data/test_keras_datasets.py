"""keras.datasets: everything but the download, which stands still here."""

from collections.abc import Callable
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tests.support.batches import examples, steps
from tests.support.marks import quick
from tfscale.data.arrays import source_of
from tfscale.data.base import Arrays
from tfscale.data.pipeline import IndexedData
from tfscale.data.sources.keras_datasets import CLASSES, keras_datasets
from tfscale.errors import UserError

WORDS = {"the": 1, "film": 2, "good": 3, "bad": 4}
IDS = ([1, 4, 5, 6], [1, 4, 5, 7], [1, 5, 5, 5, 2, 7, 6])


def load(shape: tuple[int, ...], targets: Callable[[int], np.ndarray]) -> Callable[[], object]:
    return lambda: tuple(
        (np.arange(n * np.prod(shape)).reshape(n, *shape).astype(np.uint8), targets(n)) for n in (9, 4)
    )


def read(monkeypatch: pytest.MonkeyPatch, name: str, **functions: object) -> Arrays:
    monkeypatch.setattr(keras.datasets, name, SimpleNamespace(**functions))
    return keras_datasets(name=name, length=6, vocabulary=8)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_images_have_channels_and_class_numbers(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    grey = name.endswith("mnist")
    shape = (28, 28) if grey else (32, 32, 3)
    load_data = load(shape, lambda n: np.arange(n) % 10 if grey else (np.arange(n) % 10)[:, None])
    source = source_of(read(monkeypatch, name, load_data=load_data))
    assert source.spec.x.shape == ((28, 28, 1) if grey else shape)  # pyright: ignore
    assert (source.spec.y.shape, source.spec.y.categories) == ((), CLASSES[name])  # pyright: ignore
    assert source.normalizers.factor == 1 / 255  # pyright: ignore


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("name", quick(["imdb", "reuters"], only=["imdb"]))
def test_texts_are_rows_of_ids_and_every_one_arrives_once(
    monkeypatch: pytest.MonkeyPatch, name: str, size: int
) -> None:
    def load_data(num_words: int) -> object:
        x = np.asarray(IDS, dtype=object)
        assert num_words == 8
        return (x, np.array([1, 0, 1])), (x[:1], np.array([1]))

    arrays = read(monkeypatch, name, load_data=load_data, get_word_index=lambda: {**WORDS, "rare": 90})
    assert arrays.columns == ("", "[START]", "[UNK]", "[UNUSED]", "the", "film", "good", "bad")
    data = IndexedData(source_of(arrays))
    assert data.spec.x.categories == 8  # pyright: ignore
    taken = examples(steps(data, size, batch=1, count=-(-3 // size)))
    rows = [[0, 0, 1, 4, 5, 6], [0, 0, 1, 4, 5, 7], [1, 5, 5, 5, 2, 7]]
    assert sorted((x.tolist(), int(y)) for x, y in taken) == sorted(zip(rows, [1, 0, 1], strict=True))


def test_houses_are_a_table_with_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = np.random.default_rng(0).random((6, 8), np.float32), np.linspace(1e5, 2e5, 6, dtype=np.float32)
    spec = source_of(read(monkeypatch, "california_housing", load_data=lambda: ((x, y), (x, y)))).spec
    assert spec.x.names[0] == "longitude"  # pyright: ignore
    assert (spec.y.categories, spec.y.dtype) == (None, "float32")  # pyright: ignore


def test_a_download_that_fails_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_data() -> object:
        raise Exception("URL fetch failure on https://example.org/mnist.npz: None -- no address\nmore")

    with pytest.raises(UserError, match=r"keras.datasets.mnist cannot be loaded \(URL fetch .*\); connect to the netw"):
        read(monkeypatch, "mnist", load_data=load_data)


def test_keras_has_these_data_sets() -> None:
    for name in (*CLASSES, "california_housing"):
        assert callable(getattr(keras.datasets, name).load_data)
