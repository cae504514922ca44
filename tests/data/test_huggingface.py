"""Hugging Face datasets: saved folders and files. The source itself is tested where the package is installed."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.batches import examples, same, steps
from tfscale.data.base import Source, Split
from tfscale.data.pipeline import IndexedData
from tfscale.data.sources import huggingface as sources
from tfscale.data.sources import needs
from tfscale.errors import UserError

N = 23


def read(**changes: object) -> Source:
    names = ("folder", "files", "builder", "inputs", "vocabulary")
    values = {**dict.fromkeys(names), "label": "label", **changes}
    sources.check(**values)  # pyright: ignore[reportArgumentType]
    return sources.huggingface(**values)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"x": datasets.Sequence(datasets.Value("float32")), "label": datasets.ClassLabel(names=["cat", "dog", "eel"])}
    )
    parts = {
        name: datasets.Dataset.from_dict(
            {"x": [[number, number / 2] for number in range(size)], "label": [number % 3 for number in range(size)]},
            features=features,
        )
        for name, size in {"train": N, "test": 5, "unsupervised": 3}.items()
    }
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    return str(tmp_path / "saved")


def test_a_missing_package_is_named_with_its_extra() -> None:
    with pytest.raises(UserError, match=r"data=huggingface needs the package no_such_package; type: pip install 'tfs"):
        needs.require_package("no_such_package", "huggingface")


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_an_epoch_has_every_row_once_with_its_class(folder: str, size: int) -> None:
    source = read(folder=folder)
    assert source.spec.y.names == ("cat", "dog", "eel")  # pyright: ignore
    assert {split: len(each) for split, each in source.examples.items()} == {Split.TRAIN: N, Split.TEST: 5}
    assert "not used: unsupervised" in source.warnings[0]
    taken = examples(steps(IndexedData(source), size, batch=2, count=-(-N // (2 * size))))
    assert sorted(x.tolist() for x, _ in taken) == [[number, number / 2] for number in range(N)]
    assert all(x[0] % 3 == y for x, y in taken)


def test_any_step_can_be_the_first_and_the_digest_is_one(folder: str) -> None:
    data, again = IndexedData(read(folder=folder)), IndexedData(read(folder=folder))
    assert data.digest == again.digest
    whole = steps(data, 3, batch=2, count=9)
    assert same(steps(again, 3, batch=2, count=4, start=5), whole[5:])


def test_files_are_read_by_their_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [{"a": number, "b": number / 4, "label": number * 1.5} for number in range(6)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = read(files={"train": f"{tmp_path}/t.jsonl"}, builder="json", inputs=["a", "b"])
    assert source.spec.y.categories is None  # pyright: ignore
    targets = source.examples[Split.TRAIN].targets()
    assert isinstance(targets, np.ndarray)
    assert targets.tolist() == [row["label"] for row in rows]
    with pytest.raises(UserError, match=r"data.inputs must name the inputs of .*, which has a, b, label"):
        read(files={"train": f"{tmp_path}/t.jsonl"}, builder="json")
    (tmp_path / "t.jsonl").write_text('{"a": ')
    with pytest.raises(UserError, match=r"data.files=.* cannot be read \(.*\); write it again"):
        read(files={"train": f"{tmp_path}/t.jsonl"}, builder="json", inputs="a")


def test_what_does_not_fit_is_named(folder: str, tmp_path: Path) -> None:
    for changes, message in (
        ({}, "either data.folder, .* got neither"),
        ({"files": "x"}, "data.builder must be the format of data.files"),
        ({"folder": "none"}, "data.folder must be an existing folder, got none"),
        ({"folder": str(tmp_path)}, r"data.folder=.* cannot be read \("),
        ({"folder": folder, "label": "kind"}, r"data.label must name a key of .* \(x, label\), got kind"),
        ({"folder": folder, "inputs": "y"}, r"data.inputs must name a key of .* \(x, label\), got y"),
    ):
        with pytest.raises(UserError, match=message):
            read(**changes)
