"""Arrays of any kind: several inputs and targets, weights, files larger than memory; nothing is cast or dropped."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfscale.data.arrays import source_of
from tfscale.data.base import Arrays, Normalizer, Shard, Split
from tfscale.data.pipeline import IndexedData
from tfscale.data.sources import npy, npz
from tfscale.errors import UserError
from tfscale.specs import ArraySpec

N = 23


def first_batch(arrays: Arrays, batch: int = N) -> tuple:
    feed = IndexedData(source_of(arrays)).train(Shard(0, 1), batch=batch, seed=1, start=0, prefetch=1)
    return tf.nest.map_structure(lambda part: part.numpy(), next(iter(feed)))


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int32", "int64", "float16", "float32", "float64", "bool"]
)
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 2)])
def test_targets_arrive_as_they_are(dtype: str, shape: tuple[int, ...]) -> None:
    """A property of every dtype and shape: float targets once became integers without a word."""
    random = np.random.default_rng(0)
    values = random.integers(0, 2, (N, *shape)) if dtype == "bool" else random.uniform(0, 100, (N, *shape))
    y = values.astype(dtype)
    x, got, weight = first_batch(Arrays(np.arange(N, dtype=np.float32)[:, None], y))
    assert got.dtype == y.dtype
    np.testing.assert_array_equal(got, y[x[:, 0].astype(int)])
    np.testing.assert_array_equal(weight, np.ones(N))


def test_several_inputs_targets_and_weights_stay_together() -> None:
    number = np.arange(N)
    arrays = Arrays(
        {"left": number[:, None].astype(np.float32), "right": -number[:, None].astype(np.float64)},
        {"kind": np.where(number % 2, "odd", "even"), "size": number / 7},
        weight=number / 11,
    )
    x, y, weight = first_batch(arrays)
    drawn = x["left"][:, 0]
    np.testing.assert_array_equal(x["right"][:, 0], -drawn)
    np.testing.assert_array_equal(y["kind"], drawn % 2)
    np.testing.assert_allclose(y["size"], drawn / 7)
    np.testing.assert_allclose(weight, drawn / 11, rtol=1e-6)
    spec = source_of(arrays).spec
    assert spec.weighted
    assert spec.y == {
        "kind": ArraySpec(shape=(), dtype="str", categories=2, names=("even", "odd")),
        "size": ArraySpec(shape=(), dtype="float64"),
    }


def test_a_tuple_of_inputs_stays_a_tuple() -> None:
    x, y, _ = first_batch(Arrays((np.ones((N, 2)), np.zeros((N, 3))), None))
    assert isinstance(x, tuple)
    assert [part.shape for part in x] == [(N, 2), (N, 3)]
    assert y == ()


@pytest.mark.parametrize(
    ("dtype", "scale"), [("uint8", 1 / 255), ("uint16", 1 / 65535), ("float32", 1.0), ("int32", 1)]
)
def test_the_scale_follows_from_the_dtype(dtype: str, scale: float) -> None:
    """uint16 pictures once trained at 0 to 65,535: the loss was 90,888."""
    x = np.full((N, 2), 100, dtype)
    source = source_of(Arrays(x, np.arange(N)))
    assert source.normalizers == Normalizer(factor=scale)
    assert bool(source.warnings) == (dtype == "int32"), "whole numbers that nothing scales are told of"
    np.testing.assert_allclose(first_batch(Arrays(x, np.arange(N)))[0], 100 * scale)


def test_mapped_arrays_are_read_in_parts_and_give_the_same_batches(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).standard_normal((N, 4)).astype(np.float32), np.arange(N) % 3
    for name, array in {"x_train": x, "y_train": y, "x_test": x[:5], "y_test": y[:5]}.items():
        np.save(tmp_path / f"{name}.npy", array)
    npy.check(folder=str(tmp_path))
    mapped = npy.npy(folder=str(tmp_path))
    assert isinstance(mapped.x_train, np.memmap)
    in_memory = Arrays(x, y, x[:5], y[:5])
    assert source_of(mapped).digest == source_of(in_memory).digest
    one, other = (
        list(itertools.islice(IndexedData(source_of(each)).train(Shard(1, 2), batch=3, seed=5, start=2, prefetch=2), 9))
        for each in (mapped, in_memory)
    )
    for ours, theirs in zip(one, other, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, ours, theirs)
    tests = [x for x, *_ in IndexedData(source_of(mapped)).evaluate(Split.TEST, Shard(0, 1), batch=2)]
    np.testing.assert_array_equal(np.concatenate(tests), x[:5])


def test_files_have_parts_for_several_inputs(tmp_path: Path) -> None:
    parts = {"x_train.left": np.ones((4, 2)), "x_train.right": np.ones((4, 3, 3)), "y_train": np.arange(4) % 2}
    np.savez(tmp_path / "all.npz", **parts)
    for name, array in parts.items():
        np.save(tmp_path / f"{name}.npy", array)
    for arrays in (npz.npz(file=str(tmp_path / "all.npz")), npy.npy(folder=str(tmp_path))):
        assert isinstance(arrays.x_train, dict)
        assert {name: part.shape for name, part in arrays.x_train.items()} == {"left": (4, 2), "right": (4, 3, 3, 1)}
        assert arrays.x_test is None


def test_wrong_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.folder must be a folder of .npy files"):
        npy.check(folder=None)
    with pytest.raises(UserError, match=r"data.folder must be an existing folder"):
        npy.check(folder=str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"must hold the array x_train; save it with numpy.save"):
        npy.check(folder=str(tmp_path))
    (tmp_path / "x_train.npy").write_bytes(b"hello world")
    with pytest.raises(UserError, match=r"x_train.npy is not a .npy file \(its first bytes are 68 65"):
        npy.check(folder=str(tmp_path))
    np.save(tmp_path / "x_train.npy", np.ones((9, 2)))
    whole = (tmp_path / "x_train.npy").read_bytes()
    (tmp_path / "x_train.npy").write_bytes(whole[:-3])
    with pytest.raises(UserError, match=r"x_train.npy cannot be read"):
        npy.npy(folder=str(tmp_path))
    (tmp_path / "x_train.npy").write_bytes(whole)
    np.save(tmp_path / "x_tain.npy", np.ones(3))
    with pytest.raises(UserError, match=r"must hold only arrays called x_train, .*, got x_tain; leave it out"):
        npy.check(folder=str(tmp_path))
