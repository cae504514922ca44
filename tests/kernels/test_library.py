"""The kernels' library: its name, its cache, and the backend without it."""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from tfscale.scripts.build import kernels

from tfscale.compression.backends.base import Spec
from tfscale.compression.backends.select import select
from tfscale.compression.codecs.smallest import Smallest
from tfscale.errors import UserError
from tfscale.kernels import library
from tfscale.vectors import Layout

SPEC = Spec(
    layout=Layout(names=("only",), sizes=(4,)),
    min_size=0,
    momentum=0.0,
    nesterov=False,
    masking=False,
    levels=1,
    codes=Smallest().codes,
    scale=1.0,
)
NOBODY = 65534
REFERENCE = "the reference backend (TensorFlow operations)"
CPUS = ["/job:localhost/replica:0/task:0/device:CPU:0", "/CPU:1"]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache without kernels."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(library, "load", library.load.__wrapped__)
    return tmp_path


def test_set_up_has_built_the_kernels() -> None:
    assert library.load() is not None
    assert select("auto", SPEC, CPUS).name == "native kernels"


def test_the_name_changes_with_what_the_library_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {library.path().name}
    monkeypatch.setattr(library, "tensorflow_version", lambda: "2.99.0")
    names.add(library.path().name)
    monkeypatch.setattr(library, "sources", lambda: {"step_ops.cc": b"another"})
    names.add(library.path().name)
    assert len(names) == 3
    assert all(name.startswith("kernels-tf") and name.endswith(".so") for name in names)


def test_without_kernels_the_reference_backend_computes(elsewhere: Path) -> None:
    assert select("auto", SPEC, CPUS).name == REFERENCE
    with pytest.raises(UserError, match=r"kernel=native: the native kernel is not built; type: python -m"):
        select("native", SPEC, CPUS)


def test_the_native_kernel_is_for_cpus() -> None:
    assert select("auto", SPEC, ["/GPU:0"]).name == REFERENCE
    with pytest.raises(UserError, match=r"runs on CPU devices only; set strategy.kernel=auto"):
        select("native", SPEC, ["/GPU:0"])


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match=r"strategy\.kernel must be auto, native or reference, got plain"):
        select("plain", SPEC, CPUS)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A process without kernels in its cache; whoever it runs as, it can read the sources."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    sources = library.sources()
    monkeypatch.setattr(library, "sources", lambda: sources)
    monkeypatch.setattr(library, "tensorflow_version", lambda: "2.21.0")
    library.load.cache_clear()
    yield monkeypatch
    library.load.cache_clear()


def test_a_home_that_may_not_be_entered_leaves_the_reference_backend_which_is_said_once(
    homeless: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`docker run -u` with another user's HOME ended in a PermissionError."""
    tmp_path.chmod(0)
    homeless.setenv("HOME", str(tmp_path / "home"))
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        assert [select("auto", SPEC, CPUS).name for _ in range(2)] == 2 * [REFERENCE]
    finally:
        if is_root:
            os.seteuid(0)
        tmp_path.chmod(0o700)
    said = capsys.readouterr().err
    assert said.count("tfscale: the native kernels cannot be looked up") == 1
    assert "Permission denied; set XDG_CACHE_HOME to a readable folder" in said
    assert "the reference backend computes the same bits, more slowly" in said


def test_no_home_at_all_leaves_the_reference_backend_which_is_said_once(
    homeless: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`setpriv --reuid 4242 env -u HOME` ended in "Could not determine home directory"."""

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    homeless.delenv("HOME", raising=False)
    homeless.setattr(pwd, "getpwuid", unknown)
    assert [select("auto", SPEC, CPUS).name for _ in range(2)] == 2 * [REFERENCE]
    said = capsys.readouterr().err
    assert said.count("tfscale: the native kernels cannot be looked up") == 1
    assert "this user has no home folder" in said
    assert "set HOME or XDG_CACHE_HOME" in said


def test_a_file_in_the_place_of_the_cache_is_no_library(elsewhere: Path) -> None:
    (elsewhere / "tfscale").write_text("a file where a folder belongs")
    assert library.find() is None


def test_a_damaged_library_is_an_error_that_says_what_to_type(elsewhere: Path) -> None:
    library.path().parent.mkdir(parents=True)
    library.path().write_bytes(b"\x7fELF, but not really")
    with pytest.raises(OSError, match=r"cannot be loaded .*; type: python -m tfscale.scripts.build.kernels --rebuild"):
        library.load()


def test_a_cache_that_cannot_be_written_is_named_by_the_build(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(SystemExit, match=r"file/cache: Not a directory; set XDG_CACHE_HOME to a folder that can be wr"):
        kernels.build(tmp_path / "file" / "cache" / "kernels.so")


def test_the_build_without_a_home_says_what_to_set(homeless: pytest.MonkeyPatch) -> None:
    homeless.setattr(library, "path", Mock(side_effect=library.CacheError("no home; set HOME or XDG_CACHE_HOME")))
    homeless.setattr("sys.argv", ["build_kernels"])
    with pytest.raises(SystemExit, match="build_kernels: no home; set HOME or XDG_CACHE_HOME"):
        kernels.main()
