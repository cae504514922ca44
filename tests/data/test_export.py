"""Exports: examples in = examples out, in value, dtype, order and split; a kill changes no byte of the result."""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.support.killed_exports import CODE
from tests.support.pictures import read_images, write_classes
from tests.support.shards import batches, contents, everything, mixed, read, require_same, require_same_batches, shards
from tfscale.data import manifest as manifests
from tfscale.data import normalize
from tfscale.data.arrays import source_of
from tfscale.data.base import Arrays, Shard, Source, Split
from tfscale.data.pipeline import IndexedData
from tfscale.data.splits import Held, hold_out
from tfscale.errors import UserError

DTYPES = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
]
N = 20
ROOT = Path(__file__).parent.parent.parent


def values(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values over the whole range of a dtype, its ends and, of floats, -0, the smallest and the largest included."""
    draw = np.random.default_rng(0)
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return draw.integers(0, 2, shape).astype(bool)
    if kind.kind == "f":
        made = draw.standard_normal(shape).astype(kind)
        ends = [np.finfo(kind).max, np.finfo(kind).min, np.finfo(kind).smallest_subnormal, -0.0]
    else:
        low, high = int(np.iinfo(kind).min), int(np.iinfo(kind).max)
        made = draw.integers(low, high, shape, dtype=kind, endpoint=True)
        ends = [low, high]
    made.reshape(-1)[: len(ends)] = ends
    return made


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1,), (2, 3), (4, 5, 1), (3, 2, 3)])
def test_every_value_of_every_dtype_comes_back_exactly(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    source = source_of(Arrays(values(dtype, (N, *shape)), values(dtype, (N, 2)) if dtype[0] != "f" else None))
    back = read(shards(source, tmp_path / "out", size=7))
    require_same(source, back)
    if dtype[0] == "f":
        bits = [everything(each)[0].view(f"u{np.dtype(dtype).itemsize}") for each in (source, back)]
        np.testing.assert_array_equal(*bits)
    layout = manifests.read(tmp_path / "out").layout  # pyright: ignore
    wanted = (
        "png" if dtype == "uint8" and len(shape) == 3 else {"float32": "float_list", "uint64": "little_endian_bytes"}
    )
    kind = (
        wanted
        if isinstance(wanted, str)
        else wanted.get(dtype, "little_endian_bytes" if dtype[0] == "f" else "int64_list")
    )
    assert layout.x.encoding.value == kind


def test_nested_examples_with_all_splits_names_weights_and_normalizers_come_back(tmp_path: Path) -> None:
    source = mixed()
    back = read(shards(source, tmp_path / "out", size=15))
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == [
        "manifest.json",
        "test-00000-of-00001.tfrecord",
        *(f"train-0000{number}-of-00003.tfrecord" for number in range(3)),
        "validation-00000-of-00001.tfrecord",
    ]
    require_same(source, back)
    require_same_batches(source, back)
    assert back.spec.y["kind"].names == ("a", "b")  # pyright: ignore
    for name in ("left", "image"):
        for field in ("offset", "factor"):
            np.testing.assert_array_equal(
                getattr(source.normalizers[name], field),  # pyright: ignore
                getattr(back.normalizers[name], field),  # pyright: ignore
            )
    for split in source.examples:
        for one, other in zip(
            *(tf.nest.flatten(each.examples[split].targets()) for each in (source, back)), strict=True
        ):
            np.testing.assert_array_equal(one, other)
    record = next(iter(tf.data.TFRecordDataset(str(tmp_path / "out" / "train-00000-of-00003.tfrecord")))).numpy()
    assert set(tf.train.Example.FromString(record).features.feature) == {
        *("x.left", "x.image", "y.kind", "y.size", "weight")
    }


def test_tuples_and_examples_without_targets_come_back(tmp_path: Path) -> None:
    x = values("float32", (N, 3)), values("int16", (N, 2, 2))
    source = source_of(Arrays(x, None))
    back = read(shards(source, tmp_path / "out"))
    require_same(source, back)
    assert isinstance(back.spec.x, tuple) and back.spec.y is None
    require_same_batches(source, back)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_an_epoch_has_every_example_once(tmp_path: Path, size: int) -> None:
    source = source_of(Arrays(np.arange(N, dtype=np.uint64)[:, None], np.arange(N) % 3))
    data = IndexedData(read(shards(source, tmp_path / "out", size=6)))
    seen = []
    for rank in range(size):
        for x, y, weight in batches(data, Shard(rank, size), batch=3, count=-(-N // (3 * size))):
            seen += [(int(a[0]), int(b)) for a, b, w in zip(x, y, weight, strict=True) if w > 0]
    assert sorted(seen) == [(n, n % 3) for n in range(N)]


def test_any_step_can_be_the_first(tmp_path: Path) -> None:
    data = IndexedData(read(shards(mixed(), tmp_path / "out", size=15)))
    whole = batches(data, Shard(1, 2), batch=7, count=8)
    for start in range(8):
        for got, wanted in zip(
            batches(data, Shard(1, 2), batch=7, count=8 - start, start=start), whole[start:], strict=True
        ):
            for one, other in zip(got, wanted, strict=True):
                np.testing.assert_array_equal(one, other)


def pictures(folder: Path) -> Source:
    source = read_images(folder=folder, size=[4, 3])
    held = Held(validation=0.2, test=0.15, stratify=True, seed=4)
    return normalize.fit(hold_out(source, held), "standardize", fill_missing=False)


def test_images_are_exported_resized_with_their_splits_and_statistics(tmp_path: Path) -> None:
    write_classes(tmp_path / "photos", {"cat": 9, "dog": 7, "eel": 4})
    source = pictures(tmp_path / "photos")
    back = read(shards(source, tmp_path / "out", size=5))
    assert {split: len(each) for split, each in back.examples.items()} == {
        Split.TRAIN: 13,
        Split.VALIDATION: 4,
        Split.TEST: 3,
    }
    require_same(source, back)
    require_same_batches(source, back)
    assert back.spec.y.names == ("cat", "dog", "eel")  # pyright: ignore
    for path in (tmp_path / "photos" / "dog").iterdir():  # after their sizes were read
        path.write_bytes(b"no image")
    with pytest.raises(UserError, match=r"data: .*/dog/00\d.png cannot be read: "):
        shards(source, tmp_path / "other")


PLACES = ["framed:20", "rename:3", "replace:5"]
MORE_PLACES = ["framed:1", "framed:15", "framed:50", "rename:1", "replace:1", "replace:2", "replace:7"]


@pytest.mark.parametrize("places", [PLACES, pytest.param(MORE_PLACES, marks=pytest.mark.slow)])
def test_an_export_that_is_killed_anywhere_continues_to_the_same_bytes(tmp_path: Path, places: list[str]) -> None:
    wanted = contents(shards(mixed(), tmp_path / "whole", size=15))
    words = [sys.executable, "-m", "tests.support.killed_exports", str(tmp_path), *places]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == [str(CODE)] * len(places), done.stderr
    for place in places:
        folder = tmp_path / place
        assert not (folder / "manifest.json").exists()
        for files in (folder, folder / "*.tfrecord") if list(folder.glob("*.tfrecord")) else ():
            with pytest.raises(UserError, match=r"holds an export that has not ended; type its command again"):
                read(files)
        before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.tfrecord")}
        listed = json.loads((folder / manifests.PARTIAL).read_text())["files"] if place != "replace:1" else []
        shards(mixed(), folder, size=15)
        assert contents(folder) == wanted, place
        for file in listed:
            assert (folder / file["name"]).stat().st_mtime_ns == before[file["name"]], "a complete shard is kept"


def test_a_shard_that_was_damaged_since_is_written_again(tmp_path: Path) -> None:
    folder = shards(mixed(), tmp_path / "out", size=15)
    wanted = contents(folder)
    path = folder / "train-00001-of-00003.tfrecord"
    path.write_bytes(wanted[path.name][:-9])
    (folder / "test-00000-of-00001.tfrecord").unlink()
    shards(mixed(), folder, size=15)
    assert contents(folder) == wanted


def test_a_folder_with_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"to=.*other must be a new or empty folder, got one with notes.txt"):
        shards(mixed(), other)
    assert contents(other) == {"notes.txt": b"mine"}
    folder = shards(mixed(), tmp_path / "out", size=15)
    before = contents(folder)
    for source, size in ((mixed(examples=41), 15), (mixed(), 16)):
        with pytest.raises(UserError, match=r"to=.*out holds an export of other data or options; give another folder"):
            shards(source, folder, size=size)
    assert contents(folder) == before
    (folder / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"must be a new or empty folder, got one with test-00000-of-00001.tfrecord"):
        shards(mixed(), folder, size=15)
    partial = {"digest": "0", "files": []}
    (folder / manifests.PARTIAL).write_text(json.dumps(partial))
    with pytest.raises(UserError, match=r"holds a part of an export of other data or options; remove it, or give"):
        shards(mixed(), folder, size=15)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"to must be a folder, got .*file; give another path"):
        shards(mixed(), tmp_path / "file")


def test_inputs_that_are_not_finite_are_said_until_the_user_decides(tmp_path: Path) -> None:
    x = np.ones((N, 2), np.float32)
    x[13, 1] = np.nan
    kept = source_of(Arrays(x, np.arange(N) % 2), missing="keep")
    back = read(shards(kept, tmp_path / "keep", size=8))
    assert back.not_finite == "x is nan in record 6 of train-00001-of-00003.tfrecord"
    filled = normalize.fit(source_of(Arrays(x, np.arange(N) % 2), missing="mean"), "auto", fill_missing=True)
    back = read(shards(filled, tmp_path / "mean"))
    assert back.not_finite is None
    require_same_batches(filled, back)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text: text.replace('"examples": 15', '"examples": 14', 1),
            r"is damaged: its sha256 sum does not match",
        ),
        (
            lambda text: text.replace('"version": 1', '"version": 2'),
            r"must have version 1, got 2; export the data again",
        ),
        (lambda text: text[:-30], r"is not the manifest of an export, or is damaged"),
        (lambda text: "[1]", r"is not the manifest of an export, or is damaged"),
        (lambda text: "{}", r"is not the manifest of an export, or is damaged"),
    ],
)
def test_a_damaged_manifest_is_named(tmp_path: Path, change: Callable[[str], str], message: str) -> None:
    path = shards(mixed(), tmp_path / "out", size=15) / "manifest.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError, match=rf"manifest.json {message}"):
        read(tmp_path / "out")


def test_files_are_those_of_the_manifest(tmp_path: Path) -> None:
    folder = shards(mixed(), tmp_path / "out", size=15)
    assert read(folder).digest == read(folder / "*.tfrecord").digest
    with pytest.raises(
        UserError, match=r"the files of its manifest.json, but 2 are missing, such as test-00000-of-00001"
    ):
        read(folder / "train-*.tfrecord")
    with pytest.raises(UserError, match=r"data.label must be null, as .* has a manifest.json, got y; leave it out"):
        read(folder, label="y")
    (folder / "more.tfrecord").write_bytes(b"")
    with pytest.raises(UserError, match=r"but 1 are not of the export, such as more.tfrecord; type data.files="):
        read(folder)
    (folder / "more.tfrecord").unlink()
    ends = [path.read_bytes() for path in sorted(folder.glob("train*"))]
    path = folder / "train-00001-of-00003.tfrecord"
    path.write_bytes(ends[1] + ends[2])
    with pytest.raises(
        UserError, match=r"train-00001-of-00003.tfrecord must have [\d,]+ bytes by its manifest.json, got"
    ):
        read(folder)


@pytest.mark.parametrize("count", [12, pytest.param(200, marks=pytest.mark.slow)])
def test_damaged_shards_are_named_or_counted_and_never_silently_wrong(tmp_path: Path, count: int) -> None:
    draw, size = random.Random(1), 9
    number = np.arange(N * 2)
    source = source_of(Arrays(number[:, None].astype(np.uint32), number % 5))
    folder = shards(source, tmp_path / "out", size=size)
    names = sorted(path.name for path in folder.glob("*.tfrecord"))
    for _ in range(count):
        path = folder / draw.choice(names)
        sound = path.read_bytes()
        content, place = bytearray(sound), draw.randrange(len(sound))
        if draw.random() < 0.4:
            del content[place:]
        else:
            content[place] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        with pytest.raises((UserError, tf.errors.OpError), match=rf"(record \d+ of )?{path}"):
            batches(IndexedData(read(folder)), Shard(0, 1), batch=2 * N, count=1)
        kept = read(folder, on_error="skip")
        x, y, _ = everything(kept)
        assert kept.skipped >= 1
        assert len(x) + kept.skipped == 2 * N, "all that is missing is counted"
        assert len(set(x[:, 0].tolist())) == len(x)
        np.testing.assert_array_equal(x[:, 0] % 5, y)
        path.write_bytes(sound)
