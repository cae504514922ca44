"""Folders of images: every file arrives once, with the class of its folder; a file that is no image is named."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.support.batches import steps
from tests.support.pictures import read_images, write_classes, write_png
from tfscale.data.base import Shard, Source, Split
from tfscale.data.pipeline import IndexedData
from tfscale.errors import UserError

COUNTS = {"cat": 9, "dog": 7, "eel": 4}


def first(source: Source) -> np.ndarray:
    return source.examples[Split.TRAIN].read(tf.constant([0], tf.int64))[0][0].numpy()


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_an_epoch_has_every_image_once_with_its_class(tmp_path: Path, size: int) -> None:
    colours = write_classes(tmp_path, COUNTS)
    data = IndexedData(read_images(folder=tmp_path))
    assert data.spec.y.names == ("cat", "dog", "eel")  # pyright: ignore
    seen = {}
    for rank in range(size):
        feed = iter(data.train(Shard(rank, size), batch=2, seed=3, start=0, prefetch=2))
        for _ in range(-(-20 // (2 * size))):
            x, y, weight = (part.numpy() for part in next(feed))
            assert x.shape[1:] == (6, 5, 3)
            seen |= {
                round(float(each.max()) * 255): int(label) for each, label, w in zip(x, y, weight, strict=True) if w > 0
            }
    names = sorted(COUNTS)
    assert seen == {colour: names.index(Path(path).parent.name) for path, colour in colours.items()}


def test_folders_of_splits_are_splits(tmp_path: Path) -> None:
    for part, count in {"train": 6, "val": 3, "test": 2}.items():
        write_classes(tmp_path / part, {"a": count, "b": count})
    source = read_images(folder=tmp_path)
    assert {split: len(each) for split, each in source.examples.items()} == {
        Split.TRAIN: 12,
        Split.VALIDATION: 6,
        Split.TEST: 4,
    }
    write_classes(tmp_path / "test", {"c": 1})
    with pytest.raises(UserError, match=r"test/c is the class 'c', which has no training images"):
        read_images(folder=tmp_path)


def test_images_get_the_size_asked_for(tmp_path: Path) -> None:
    write_classes(tmp_path, {"b": 1})
    wide = np.zeros((8, 16, 3), np.uint8)
    wide[:, 4:12] = 200  # the middle square
    write_png(tmp_path / "a" / "x.png", wide)
    assert first(read_images(folder=tmp_path)).shape == (8, 16, 3)
    cropped = first(read_images(folder=tmp_path, size=[4, 4], crop=True))
    assert cropped.shape == (4, 4, 3)
    assert cropped[:, 1:3].min() == 200, "the proportions are kept, and the middle is taken"
    stretched = first(read_images(folder=tmp_path, size=[8, 8]))
    assert stretched[:, :1].max() < 50 < 150 < stretched[:, 3].min()
    grey = first(read_images(folder=tmp_path, size=[8, 16], channels=1))
    np.testing.assert_array_equal(grey[..., 0], wide[..., 0])


@pytest.mark.parametrize("kind", ["jpeg", "truncated", "text", "empty"])
def test_a_file_that_is_no_image_is_named_or_left_out(tmp_path: Path, kind: str) -> None:
    write_classes(tmp_path, {"a": 5, "b": 5})
    path = tmp_path / "a" / "bad.png"
    whole = tf.io.encode_jpeg(np.zeros((6, 5, 3), np.uint8)).numpy()
    path.write_bytes({"jpeg": whole, "truncated": whole[:150], "text": b"hello", "empty": b""}[kind])
    data = IndexedData(read_images(folder=tmp_path))
    if kind == "jpeg":
        assert len(steps(data, 1, batch=11, count=1)) == 1
        return
    with pytest.raises(UserError, match=f"data: {path} cannot be read: "):
        steps(data, 1, batch=11, count=1)
    source = read_images(folder=tmp_path, on_error="skip")
    assert (source.skipped, len(source.examples[Split.TRAIN])) == (1, 10)


def test_folders_without_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data must have data.folder, .* or data.table, .* got neither"):
        read_images()
    with pytest.raises(UserError, match=r"data.validation_table and data.test_table must be null without data.table"):
        read_images(folder=tmp_path, test_table="t.csv")
    with pytest.raises(UserError, match=r"data.folder must be an existing folder"):
        read_images(folder=tmp_path / "none")
    write_classes(tmp_path, {"a": 2})
    with pytest.raises(UserError, match=r"for each of at least 2 classes, got 1; sort the images into folders"):
        read_images(folder=tmp_path)
    write_classes(tmp_path, {"b": 1})
    (tmp_path / "a" / "000.png").write_bytes(b"no")
    with pytest.raises(UserError, match=r"a/000.png is not an image \(.*\); take it away"):
        read_images(folder=tmp_path)


def test_the_digest_knows_files_and_settings(tmp_path: Path) -> None:
    write_classes(tmp_path, COUNTS)
    before = read_images(folder=tmp_path).digest
    assert before == read_images(folder=tmp_path).digest != read_images(folder=tmp_path, size=[3, 3]).digest
    (tmp_path / "cat" / "000.png").rename(tmp_path / "dog" / "000.png")
    assert read_images(folder=tmp_path).digest != before
