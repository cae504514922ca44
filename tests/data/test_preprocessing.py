"""Later data are read as the training data were; nothing is fitted or numbered anew."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.in_place import composed
from tfscale.config import saved
from tfscale.data import preprocessing
from tfscale.data.arrays import source_of
from tfscale.data.base import Arrays, Normalizer, Shard, Source, Split
from tfscale.data.encoding import Columns, Tokens
from tfscale.data.preprocessing import Preprocessing, adopt
from tfscale.errors import UserError
from tfscale.job.build_data import build_data, read_source
from tfscale.job.later_data import later_data
from tfscale.runs.run_directory import RunDirectory
from tfscale.specs import ArraySpec, ElementSpec, leaves

TABLE = "size,color,kind\n1,red,a\n2,blue,b\n3,red,b\n4,green,a\n"
TEXTS = "text,label\ngood day,nice\nbad day,rude\ngood friend,nice\n"


def learned_from(tmp_path: Path, content: str, *words: str) -> tuple[Preprocessing, Callable[[str], Source]]:
    """Returns what a run learns from a file, and a function that reads another file later."""
    (tmp_path / "train.csv").write_text(content)

    def config(name: str):
        return composed(*words, f"data.file={tmp_path / name}")

    learned = build_data(config("train.csv")).preprocessing
    saved.write(config("train.csv"), tmp_path)

    def read(later: str) -> Source:
        (tmp_path / "later.csv").write_text(later)
        found = later_data(config("later.csv"), learned, RunDirectory(tmp_path, only_read=True))
        assert found.source is not None
        return found.source

    return learned, read


def x_of(source: Source) -> np.ndarray:
    examples = source.examples[Split.TRAIN]
    return examples.read(np.arange(len(examples)))[0].numpy()  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]


def y_of(source: Source) -> list[int]:
    targets = source.examples[Split.TRAIN].targets()
    assert isinstance(targets, np.ndarray)
    return targets.tolist()


def test_a_later_table_has_the_columns_categories_classes_and_normalizers_of_the_run(tmp_path: Path) -> None:
    """Its own would give blue the column of red, and class b the number 0."""
    words = ("data=table", "data.label=kind", "data.normalize=standardize")
    learned, read = learned_from(tmp_path, TABLE, *words)
    assert learned.encoding == Columns(categories={"size": None, "color": ("blue", "green", "red")})
    source = read("id,color,kind,size\n9,red,b,100\n")
    np.testing.assert_array_equal(x_of(source), [[100, 0, 0, 1]])
    assert y_of(source) == [1]
    normalizer = source.normalizers
    assert isinstance(normalizer, Normalizer) and normalizer.offset is not None
    assert normalizer.offset[0] == 2.5


def test_later_texts_have_the_ids_of_the_run(tmp_path: Path) -> None:
    words = ("data=text", "data.length=3", "model=gru")
    learned, read = learned_from(tmp_path, TEXTS, *words)
    assert learned.encoding == Tokens(unit="words") and isinstance(learned.spec.x, ArraySpec)
    names = learned.spec.x.names or ()
    source = read("text,label\nfriend zebra day,rude\n")
    np.testing.assert_array_equal(x_of(source), [[names.index("friend"), 1, names.index("day")]])
    assert y_of(source) == [1]


@pytest.mark.parametrize(
    ("content", "words", "later", "message"),
    [
        (TABLE, ("data=table", "data.label=kind"), "size,color,kind\n1,pink,a\n", "column color has 'pink' in line 2"),
        (
            TABLE,
            ("data=table", "data.label=kind"),
            "size,color,kind\n1,red,c\n",
            "has the class 'c', which no training",
        ),
        (TABLE, ("data=table", "data.label=kind"), "size,kind\n1,a\n", r"must name columns of .* got color"),
        (TEXTS, ("data=text", "model=gru"), "text,label\ngood,kind\n", "has the class 'kind', which no training"),
    ],
)
def test_what_the_run_does_not_know_is_named(
    tmp_path: Path, content: str, words: tuple[str, ...], later: str, message: str
) -> None:
    _, read = learned_from(tmp_path, content, *words)
    with pytest.raises(UserError, match=message):
        read(later)


def test_classes_that_are_missing_in_later_data_keep_their_numbers() -> None:
    learned = preprocessing.of_source(first := source_of(Arrays(np.eye(3), np.asarray(["a", "b", "c"]))), "d")
    later = source_of(Arrays(np.ones((2, 3)), np.asarray(["c", "c"])), learned=learned)
    assert y_of(adopt(later, learned, "data")) == [2, 2]
    assert adopt(later, learned, "data").spec == first.spec


X, Y = np.ones((4, 3), np.float32), np.arange(4) % 2


@pytest.mark.parametrize(
    ("later", "message"),
    [
        (Arrays(np.ones((4, 2), np.float32), Y), r"got float32 \(2,\), measurements; give the same shape"),
        (Arrays((X * 255).astype(np.uint8), Y), "convert them, as uint8 and float32 are scaled in different ways"),
        (Arrays({"a": X, "b": X}, Y), "must have the inputs that the run was trained on"),
        (Arrays(X, np.arange(4)), "give numbers below 2"),
        (Arrays(X.astype(np.int32), Y, vocabulary=300), "got int32"),
    ],
)
def test_data_of_another_kind_are_refused(later: Arrays, message: str) -> None:
    source = source_of(Arrays(X, Y))
    with pytest.raises(UserError, match=message):
        adopt(source_of(later), preprocessing.of_source(source, source.digest), "data")


def test_floats_of_another_width_mean_the_same() -> None:
    source = source_of(Arrays(X, Y))
    learned = preprocessing.of_source(source, source.digest)
    assert adopt(source_of(Arrays(X.astype(np.float64), Y)), learned, "data").spec == source.spec


def test_the_file_keeps_every_bit(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).standard_normal(3)
    spec = ElementSpec(x={"b": ArraySpec(shape=(3,), dtype="float64", names=("x", "y", "é"))}, y=None)
    learned = Preprocessing(
        spec=spec,
        normalizers={"b": Normalizer(offset=numbers, factor=1 / 3, fill=None)},
        encoding=Columns(categories={"x": None, "q": ("1", "")}),
        digest="d",
    )
    preprocessing.write(learned, tmp_path / "p.json")
    found = preprocessing.read(tmp_path / "p.json")
    assert found is not None and found.spec == spec and found.encoding == learned.encoding
    normalizer = leaves(found.normalizers)["b"]
    assert isinstance(normalizer.offset, np.ndarray) and normalizer.offset.tobytes() == numbers.tobytes()
    assert normalizer.factor == 1 / 3
    assert preprocessing.read(tmp_path / "none.json") is None


def test_a_changed_digit_is_found(tmp_path: Path) -> None:
    source = source_of(Arrays(X, Y))
    path = tmp_path / "p.json"
    preprocessing.write(preprocessing.of_source(source, source.digest), path)
    document = json.loads(path.read_text())
    document["normalizers"][0]["factor"] = 0.5
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match="sha256 sum does not match"):
        preprocessing.read(path)
    path.write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        preprocessing.read(path)


def a_run(folder: Path, *words: str) -> RunDirectory:
    """Returns the directory of a run with a configuration and nothing else."""
    saved.write(composed(*words), folder)
    return RunDirectory(folder, only_read=True)


def test_other_data_are_not_divided_and_the_runs_own_are(tmp_path: Path) -> None:
    config = composed("data=digits", "data.validation=0.25")
    built, run = build_data(config), a_run(tmp_path, "data=synthetic")
    own = later_data(config, built.preprocessing, run)
    assert own.is_own and own.split is Split.TEST and own.built.data.sizes == built.data.sizes
    other = later_data(config, replace(built.preprocessing, digest="of others"), run)
    assert not other.is_own and Split.VALIDATION not in other.built.data.sizes


def test_data_that_have_changed_are_not_taken_for_others(tmp_path: Path) -> None:
    """Nobody has named them: their test examples may have been training examples."""
    config = composed("data=digits")
    learned = replace(build_data(config).preprocessing, digest="before")
    with pytest.raises(UserError, match="are not those that it was trained on, so its splits are unknown"):
        later_data(config, learned, a_run(tmp_path, "data=digits"))


def test_the_order_of_examples_and_bits_of_a_resumed_run_do_not_change() -> None:
    """A resumed run reads what it has saved; without the file, as before, it learns the same again."""
    config = composed("data=digits", "data.normalize=standardize")
    learned = build_data(config).preprocessing
    again = build_data(config, learned)
    assert again.data.digest == build_data(config).data.digest
    assert read_source(config, learned).digest == learned.digest
    one, other = (leaves(each.normalizers)[""].factor for each in (again.preprocessing, learned))
    np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


class Whole:
    """Data of a user's own, which make their batches themselves."""

    spec, sizes, digest = source_of(Arrays(X, Y)).spec, {Split.TRAIN: 4}, "whole"

    def train(self, *arguments: object, **options: object) -> list:
        raise AssertionError("no batch is needed")

    def evaluate(self, *arguments: object, **options: object) -> list:
        raise AssertionError("no batch is needed")


def test_data_that_make_their_batches_cannot_be_normalized_as_those_of_a_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They would reach the model as they are, without a word."""
    monkeypatch.setattr("tfscale.job.later_data.read_source", lambda config, learned: Whole())
    source = source_of(Arrays(X, Y))
    plain = preprocessing.of_source(source, "other")
    run = a_run(tmp_path, "data=synthetic")
    assert later_data(composed(), plain, run).size == 4
    scaled = replace(plain, normalizers=Normalizer(offset=np.ones(3)))
    with pytest.raises(UserError, match="cannot be normalized as the run's were"):
        later_data(composed(), scaled, run)


def test_datasets_of_a_function_are_normalized_as_those_of_a_run(tmp_path: Path) -> None:
    words = ("data=python", "data.function=tests.support.datasets.sevens", "trust=[tests.support.datasets]")
    config = composed(*words)
    learned = build_data(config).preprocessing
    scaled = replace(learned, normalizers=Normalizer(factor=0.5), digest="of another run")
    later = later_data(config, scaled, a_run(tmp_path, "data=synthetic"))
    (x, _, _), *_ = later.built.data.evaluate(later.split, Shard(0, 1), batch=4)
    (raw, _, _), *_ = build_data(config).data.evaluate(later.split, Shard(0, 1), batch=4)
    np.testing.assert_allclose(np.asarray(x), np.asarray(raw) / 2)  # pyright: ignore[reportArgumentType]


def test_categories_and_classes_that_look_like_numbers_stay_text(tmp_path: Path) -> None:
    """A later file with "01" and "1" alone was read as a column of numbers: every "01" became a "1"."""
    content = "k,y\n01,01\n1,1\nx,b\n"
    words = ("data=table", "data.label=y", "data.categorical=[k]")
    _, read = learned_from(tmp_path, content, *words)
    source = read("k,y\n01,01\n1,1\n01,01\n")
    np.testing.assert_array_equal(x_of(source), [[1, 0, 0], [0, 1, 0], [1, 0, 0]])
    assert y_of(source) == [0, 1, 0]


def test_several_measurements_that_happen_to_be_whole_are_still_measurements(tmp_path: Path) -> None:
    words = ("data=table", "data.label=[a,b]", "data.features=[x]")
    learned, read = learned_from(tmp_path, "x,a,b\n1,0.5,1.5\n2,1.5,2.5\n", *words)
    source = read("x,a,b\n1,0.5,7\n")
    assert source.spec.y == learned.spec.y


def test_a_column_without_a_cell_is_filled(tmp_path: Path) -> None:
    words = ("data=table", "data.label=y", "data.missing=mean", "task=classification")
    _, read = learned_from(tmp_path, "a,b,y\n1,2,u\n3,,v\n", *words)
    assert np.isnan(x_of(read("a,b,y\n1,,u\n2,,v\n"))[:, 1]).all()


def test_keys_are_text_unless_python_writes_them_so(tmp_path: Path) -> None:
    words = ("data=table", "data.label=y", "data.features=[a]")
    _, read = learned_from(tmp_path, "id,n,a,y\n1,1,1,u\n2,2,2,v\n", *words)
    examples = read("id,n,a,y\n007,7,5,u\n12345678901234567890,8,2,v\n").examples[Split.TRAIN]
    assert examples.column("id").tolist() == ["007", "12345678901234567890"]
    assert examples.column("n").tolist() == [7, 8]


def test_texts_of_a_source_named_anew_have_the_tokens_of_the_run(tmp_path: Path) -> None:
    """data=text has tokens=words; the run had characters, and every text became a row of unknown ids."""
    words = ("data=text", "data.length=3", "data.tokens=characters", "model=gru")
    learned, _ = learned_from(tmp_path, TEXTS, *words)
    (tmp_path / "later.csv").write_text("text,label\nday,nice\n")
    anew = composed("data=text", "data.length=3", "model=gru", f"data.file={tmp_path / 'later.csv'}")
    source = later_data(anew, learned, RunDirectory(tmp_path, only_read=True)).source
    assert source is not None and (x_of(source) > 1).all()
