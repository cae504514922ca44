"""TensorFlow Datasets, prepared as array_record; tested where the package is installed."""

from typing import Any

import numpy as np
import pytest

from tests.support.batches import examples, same, steps
from tfscale.data.base import Source, Split
from tfscale.data.pipeline import IndexedData
from tfscale.data.sources import tfds as sources
from tfscale.errors import UserError

N = 23


def read(**changes: object) -> Source:
    values = {**dict.fromkeys(("name", "folder", "inputs", "vocabulary")), "label": "label", **changes}
    sources.check(**values)  # pyright: ignore[reportArgumentType]
    return sources.tfds(**values)  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    tmp_path = tmp_path_factory.mktemp("tfds")
    tfds: Any = pytest.importorskip("tensorflow_datasets")

    class Pets(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = tmp_path

        def _info(self) -> Any:
            features = {
                "image": tfds.features.Tensor(shape=(2, 2, 1), dtype=np.uint8),
                "label": tfds.features.ClassLabel(names=["cat", "dog", "eel"]),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager: Any) -> Any:
            return {"train": self._generate_examples(N), "test": self._generate_examples(5)}

        def _generate_examples(self, count: int) -> Any:
            for number in range(count):
                yield number, {"image": np.full((2, 2, 1), number, np.uint8), "label": number % 3}

    Pets(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
    return str(tmp_path)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_an_epoch_has_every_example_once_with_its_class(folder: str, size: int) -> None:
    source = read(name="pets", folder=folder)
    assert source.spec.y.names == ("cat", "dog", "eel")  # pyright: ignore
    assert {split: len(each) for split, each in source.examples.items()} == {Split.TRAIN: N, Split.TEST: 5}
    taken = examples(steps(IndexedData(source), size, batch=2, count=-(-N // (2 * size))))
    assert sorted(round(float(x.max()) * 255) for x, _ in taken) == list(range(N))
    assert all(round(float(x.max()) * 255) % 3 == y for x, y in taken)


def test_any_step_can_be_the_first_and_the_digest_is_one(folder: str) -> None:
    data, again = (IndexedData(read(name="pets", folder=folder)) for _ in range(2))
    assert data.digest == again.digest
    assert same(steps(again, 3, batch=2, count=4, start=5), steps(data, 3, batch=2, count=9)[5:])


def test_what_does_not_fit_is_named(folder: str) -> None:
    for changes, message in (
        ({}, "data.name must be that of a TensorFlow data set"),
        ({"name": "pets", "folder": "none"}, "data.folder must be an existing folder, got none"),
        ({"name": "pest", "folder": folder}, r"data.name=pest cannot be read by index \(.*array_record"),
        ({"name": "pets", "folder": folder, "label": "kind"}, r"data.label must name a key of .* \(image, label\)"),
    ):
        with pytest.raises(UserError, match=message):
            read(**changes)
