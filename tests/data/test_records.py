"""TFRecord files: every record arrives once, by index; a damaged one is named, or counted, and never silently wrong."""

import random
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.support.shards import NONE, batches, everything, read, write
from tfscale.data import records
from tfscale.data.base import Shard, Split
from tfscale.data.pipeline import IndexedData
from tfscale.data.record_examples import RecordExamples
from tfscale.data.record_layout import Encoding, Feature, Layout
from tfscale.data.sources import tfrecord
from tfscale.errors import UserError

N = 23


def numbered(folder: Path, *, files: int = 3, examples: int = N) -> Path:
    """Files with examples of two inputs and a label; the first value is the number of the example."""
    per = -(-examples // files)
    for file in range(files):
        numbers = range(file * per, min((file + 1) * per, examples))
        write(
            folder / f"part-{file}.tfrecord",
            [{"a": [float(n), n / 4], "b": [n * 2**33], "kind": [b"odd" if n % 2 else b"even"]} for n in numbers],
        )
    return folder


def test_framing_is_tensorflows(tmp_path: Path) -> None:
    contents = [b"", b"a", bytes(range(256)) * 40]
    with tf.io.TFRecordWriter(str(tmp_path / "t.tfrecord")) as writer:
        for content in contents:
            writer.write(content)
    assert (tmp_path / "t.tfrecord").read_bytes() == b"".join(map(records.framed, contents))
    index = records.index(tmp_path / "t.tfrecord")
    assert (index.lengths.tolist(), index.fault) == ([0, 1, 256 * 40], None)
    opened = records.opened([tmp_path / "t.tfrecord"], [index])
    assert [opened.read(number) for number in range(3)] == contents
    assert opened.name(2) == f"record 3 of {tmp_path / 't.tfrecord'}"
    assert opened.only(np.array([2])).name(0) == opened.name(2)


def opened(folder: Path, *, bytes_each: int) -> records.Records:
    """Three files of five records, whose first byte is their number."""
    paths = [folder / f"{file}.tfrecord" for file in range(3)]
    for file, path in enumerate(paths):
        path.write_bytes(b"".join(records.framed(bytes([file * 5 + own]) * bytes_each) for own in range(5)))
    return records.opened(paths, [records.index(path) for path in paths])


@pytest.mark.parametrize("bytes_each", [1, 5000])
@pytest.mark.parametrize("numbers", [[], [7], [14, 0, 9, 3, 4, 3], list(range(15)), [14, 5, 2]])
def test_a_batch_of_records_is_in_the_order_that_was_asked_for(
    tmp_path: Path, numbers: list[int], bytes_each: int
) -> None:
    read = opened(tmp_path, bytes_each=bytes_each).read_all(np.asarray(numbers, np.int64))
    assert read == [bytes([number]) * bytes_each for number in numbers]


def test_a_record_that_is_damaged_later_is_named_in_a_batch(tmp_path: Path) -> None:
    sound = opened(tmp_path, bytes_each=20)
    path = tmp_path / "1.tfrecord"
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(
            UserError, match=rf"record {place // 36 + 1} of {path} (is damaged|has changed|is truncated)"
        ):
            sound.read_all(np.arange(15))
    path.write_bytes(content[:100])
    with pytest.raises(UserError, match=rf"record 3 of {path} is truncated"):
        sound.read_all(np.asarray([14, 7, 8, 5]))


def test_a_file_that_is_gone_is_named_in_a_batch(tmp_path: Path) -> None:
    sound = opened(tmp_path, bytes_each=20)
    (tmp_path / "2.tfrecord").unlink()
    with pytest.raises(UserError, match=rf"record 1 of {tmp_path / '2.tfrecord'} cannot be read"):
        sound.read_all(np.asarray([3, 10]))


def test_a_record_with_other_features_is_named_in_a_graph(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tfrecord", [{"a": [1.0, 2.0]}, {"a": [1.0, 2.0]}, {"a": [1.0]}])
    layout = Layout(x=Feature(key="a", shape=(2,), dtype="float32", encoding=Encoding.FLOAT), y=None)
    examples = RecordExamples(records.opened([path], [records.index(path)]), layout)
    read = tf.function(examples.read, autograph=False)
    assert read(tf.constant([1, 0], tf.int64))[0].numpy().tolist() == [[1, 2], [1, 2]]
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"record 3 of {path}"):
        read(tf.constant([0, 2], tf.int64))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_an_epoch_has_every_example_once_with_its_label(tmp_path: Path, size: int) -> None:
    source = read(numbered(tmp_path), label="kind", features=["a"])
    data = IndexedData(source)
    assert data.spec.y.names == ("even", "odd")  # pyright: ignore
    seen = []
    for rank in range(size):
        for x, y, weight in batches(data, Shard(rank, size), batch=2, count=-(-N // (2 * size))):
            seen += [(int(a), int(b)) for (a, _), b, w in zip(x, y, weight, strict=True) if w > 0]
    assert sorted(seen) == [(n, n % 2) for n in range(N)]


def test_any_step_can_be_the_first(tmp_path: Path) -> None:
    data = IndexedData(read(numbered(tmp_path), label="kind", features=["a"]))
    whole = batches(data, Shard(1, 2), batch=3, count=12)
    for start in range(12):
        rest = batches(data, Shard(1, 2), batch=3, count=12 - start, start=start)
        for got, wanted in zip(rest, whole[start:], strict=True):
            for one, other in zip(got, wanted, strict=True):
                np.testing.assert_array_equal(one, other)


def test_several_features_are_several_inputs_and_whole_numbers_keep_their_bits(tmp_path: Path) -> None:
    source = read(numbered(tmp_path), label="kind", features=["b", "a"])
    examples = source.examples[Split.TRAIN]
    x, _, _ = examples.read(tf.constant([22, 3], tf.int64))
    assert x["b"].numpy().tolist() == [[22 * 2**33], [3 * 2**33]]
    assert x["a"].numpy().tolist() == [[22, 5.5], [3, 0.75]]
    assert source.warnings == ("the inputs are int64 and are not scaled; type data.normalize=standardize",)


def test_files_of_validation_and_test_are_splits(tmp_path: Path) -> None:
    numbered(tmp_path / "a")
    numbered(tmp_path / "b", files=1, examples=5)
    own = {"label": "kind", "features": ["a"]}
    source = read(tmp_path / "a" / "*.tfrecord", validation_files=str(tmp_path / "b"), **own)
    assert {split: len(each) for split, each in source.examples.items()} == {Split.TRAIN: N, Split.VALIDATION: 5}
    assert source.digest != read(tmp_path / "a", **own).digest == read(tmp_path / "a", **own).digest


def test_images_are_decoded_and_get_one_size(tmp_path: Path) -> None:
    examples = []
    for number in range(6):
        image = np.full((8, 6 + number, 3), 10 * number, np.uint8)
        encode = tf.io.encode_png if number % 2 else tf.io.encode_jpeg
        examples.append({"image": [encode(image).numpy()], "label": [number % 3]})
    write(tmp_path / "t.tfrecord", examples)
    source = read(tmp_path, label="label", size=[4, 4])
    x, y, _ = everything(source)
    assert (x.shape, x.dtype, y.tolist()) == ((6, 4, 4, 3), np.uint8, [0, 1, 2, 0, 1, 2])
    assert np.abs(x[:, 0, 0, 0].astype(int) - 10 * np.arange(6)).max() <= 1, "JPEG may be off by one"
    assert read(tmp_path, label="label").spec.x.shape == (8, 6, 3)  # pyright: ignore
    (batch,) = batches(IndexedData(source), Shard(0, 1), batch=6, count=1)
    assert batch[0].max() == pytest.approx(50 / 255, abs=1 / 255)


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (
            {"a": [1.0], "y": [0]},
            r"feature a must be 2 of float_list in every record, .* got 1 of float_list in record 3",
        ),
        (
            {"a": [1, 2], "y": [0]},
            r"feature a must be 2 of float_list in every record, .* got 2 of int64_list in record 3",
        ),
        ({"y": [0]}, r"feature a must be 2 of float_list in every record, .* got none in record 3"),
        ({"a": [1.0, 2.0]}, r"feature y must be 1 of int64_list in every record, .* got none in record 3"),
        ({"a": [1.0, np.nan], "y": [0]}, None),
    ],
)
def test_a_record_unlike_the_first_is_named_or_left_out(tmp_path: Path, odd: dict, message: str | None) -> None:
    usual = {"a": [1.0, 2.0], "y": [1]}
    path = write(tmp_path / "t.tfrecord", [usual, usual, odd, usual])
    if message is None:
        assert read(path, label="y").not_finite == f"feature a is nan in record 3 of {path}"
        return
    with pytest.raises(UserError, match=message):
        read(path, label="y")
    source = read(path, label="y", on_error="skip")
    assert (source.skipped, len(source.examples[Split.TRAIN])) == (1, 3)
    assert source.examples[Split.TRAIN].name(2) == f"record 4 of {path}"


@pytest.mark.parametrize(
    ("example", "options", "message"),
    [
        ({"a": [1.0], "b": []}, {}, r"feature b must have values in record 1 of .*, got none; leave it out"),
        ({"a": [1.0], "b": [b"x", b"y"]}, {}, r"feature b must be numbers or one JPEG or PNG image, got 2 of 1 bytes"),
        ({"a": [b"\x89PNG\r\n\x1a\nrest"]}, {}, r"record 1 of .* has an image a that cannot be read"),
        ({"a": [1.0]}, {"label": "z"}, r"data.label must name features of record 1 of .* \(a\), got z"),
        ({"a": [1.0]}, {"label": "a"}, r"data.features must name at least one feature of record 1"),
        ({"a": [1.0]}, {"features": ["a"], "label": "a"}, r"data.features must not have the label a"),
        ({"a": [1.0]}, {"size": [4, 4]}, r"data.size must be null, as record 1 of .* has no image among the inputs"),
        ({"a": [1.0], "y": [b"p", b"q"]}, {"label": "y"}, r"data.label=y must be numbers or the name of a class"),
        ({"a": [1.0], "y": [b"\xff"]}, {"label": "y"}, r"label y of record 1 of .* must be UTF-8"),
        ({}, {}, r"record 1 of .* must be a tf.train.Example with features, got none"),
    ],
)
def test_what_is_unclear_is_refused_by_name(tmp_path: Path, example: dict, options: dict, message: str) -> None:
    write(tmp_path / "t.tfrecord", [example, example])
    with pytest.raises(UserError, match=message):
        read(tmp_path, **options)


def test_files_that_are_not_there_or_of_another_format_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"data.files must be a folder or a pattern of TFRecord files; type data.files="
    ):
        tfrecord.check(files=None, on_error="error", **NONE)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r"data.files must be a folder or a pattern of TFRecord files, got .* are none"):
        read(tmp_path / "*.tfrecord")
    path = tmp_path / "t.tfrecord"
    for content, message in {
        b"\x1f\x8b\x08\x00": r"t.tfrecord must not be compressed, .* type: gunzip",
        b"": r"t.tfrecord is empty: it has no records; write the file again",
        b"x_train,y_train\n1,2\n": r"record 1 of .*t.tfrecord is damaged: the checksum of its length does not match",
        records.framed(b"\xff\xff\xff"): r"record 1 of .*t.tfrecord is not a tf.train.Example",
    }.items():
        path.write_bytes(content)
        with pytest.raises(UserError, match=message):
            read(path)


def test_a_file_that_changes_while_it_is_read_is_named(tmp_path: Path) -> None:
    path = numbered(tmp_path, files=1) / "part-0.tfrecord"
    data = IndexedData(read(tmp_path, label="kind", features=["a"]))
    content = path.read_bytes()
    path.write_bytes(b"".join(records.framed(b"other") for _ in range(100)))
    with pytest.raises(UserError, match=rf"record \d+ of {path} (has changed|is truncated|is damaged)"):
        batches(data, Shard(0, 1), batch=4, count=6)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=rf"record \d+ of {path} is truncated"):
        batches(data, Shard(0, 1), batch=N, count=1)


@pytest.mark.parametrize("count", [12, pytest.param(200, marks=pytest.mark.slow)])
def test_damaged_files_are_named_or_counted_and_never_silently_wrong(tmp_path: Path, count: int) -> None:
    draw = random.Random(0)
    source = numbered(tmp_path / "sound", files=1)
    sound = (source / "part-0.tfrecord").read_bytes()
    ends = np.cumsum(
        [len(records.framed(b"")) + length for length in records.index(source / "part-0.tfrecord").lengths]
    )
    own = {"label": "kind", "features": ["a", "b"]}
    wanted = everything(read(source, **own))
    path = tmp_path / "t.tfrecord"
    outcomes = {"named": 0, "shorter by whole records": 0}
    for _ in range(count):
        content = bytearray(sound)
        place = draw.randrange(len(sound))
        if draw.random() < 0.3:
            del content[place:]
        else:
            content[place] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        first = int(np.searchsorted(ends, place, side="right"))  # the record that has the place
        boundary = len(content) in (0, *ends[:-1])
        if boundary and len(content):
            # Nothing in the format says that more was there; a manifest does.
            assert len(read(path, **own).examples[Split.TRAIN]) == first
            outcomes["shorter by whole records"] += 1
            continue
        with pytest.raises(UserError, match=rf"record {first + 1} of {path} is|{path} is empty"):
            read(path, **own)
        outcomes["named"] += 1
        if first == 0 and len(content) in range(ends[0]):
            continue
        try:
            kept = read(path, on_error="skip", **own)
        except UserError as error:
            assert first == 0 and "that can be read, got none" in str(error)
            continue
        numbers = everything(kept)[0][:, 0].astype(int)
        assert kept.skipped >= 1
        assert first not in numbers.tolist()
        for got, all_of_them in zip(everything(kept), wanted, strict=True):
            np.testing.assert_array_equal(got, all_of_them[numbers])
    assert outcomes["named"] > 0.9 * count, outcomes
