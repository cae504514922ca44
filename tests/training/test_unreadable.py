"""An example that cannot be read ends a run with its name, whatever split it is of and whoever reads it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.in_place import run
from tests.support.pictures import read_images, write_classes
from tests.support.shards import shards
from tfscale.data import records
from tfscale.data.base import Split
from tfscale.errors import UserError
from tfscale.job.build import Job

COUNTS = {"a": 5, "b": 5}
FOLDERS = {Split.TRAIN: "train", Split.VALIDATION: "validation", Split.TEST: "test"}


def images(folder: Path) -> tuple[list[str], dict[Split, tuple[Path, str]]]:
    """Writes images of each split, one of them damaged; returns the options, and that file and the message about it."""
    damaged = {}
    for split, name in FOLDERS.items():
        path = Path(list(write_classes(folder / name, COUNTS))[7])
        damaged[split] = path, f"{path} cannot be read: InvalidArgumentError: Unknown image file format"
    return ["data=images", f"data.folder={folder}"], damaged


def tfrecord(folder: Path) -> tuple[list[str], dict[Split, tuple[Path, str]]]:
    """Exports images of each split; returns the options, and a shard of each split and the message about it."""
    images(folder / "photos")
    shards(read_images(folder=folder / "photos"), folder / "shards")
    files = {split: next((folder / "shards").glob(f"{name}-*")) for split, name in FOLDERS.items()}
    named = {split: (path, f"record 8 of {path} is damaged: the checksum") for split, path in files.items()}
    return ["data=tfrecord", f"data.files={folder}/shards"], named


def damage(path: Path) -> None:
    """Makes an image or the eighth record unreadable; the file keeps its length."""
    content = bytearray(path.read_bytes())
    if path.suffix == ".png":
        content = bytearray(b"\0" * len(content))
    else:
        content[int(records.index(path).offsets[7]) + 20] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("kind", [images, tfrecord])
@pytest.mark.parametrize("split", FOLDERS)
def test_an_unreadable_example_is_named(
    build_job: Callable[..., Job], tmp_path: Path, kind: Callable, split: Split
) -> None:
    """Those of validation and test appeared only inside TensorFlow's error, behind the stack of a graph."""
    words, files = kind(tmp_path)
    job = build_job(*words, "model=mlp", "model.hidden=[4]", "strategy=local", "train.batch=4")
    path, message = files[split]
    damage(path)
    with pytest.raises(UserError, match=f"^data: {re.escape(message)}"):
        if split is Split.TRAIN:
            run(job, 2)
        else:
            job.evaluator(job.state.consensus(), split)


@pytest.mark.parametrize("kind", [images, tfrecord])
def test_an_unreadable_example_is_named_where_statistics_are_fitted(
    build_job: Callable[..., Job], tmp_path: Path, kind: Callable
) -> None:
    words, files = kind(tmp_path)
    path, message = files[Split.TRAIN]
    damage(path)
    with pytest.raises(UserError, match=f"^data: {re.escape(message)}"):
        build_job(*words, "model=mlp", "data.normalize=standardize")
