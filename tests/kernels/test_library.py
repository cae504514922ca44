"""Where the kernels are found, and what happens where they are not."""

from pathlib import Path

import pytest

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
    codes=Smallest().codes,
    scale=1.0,
)
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
    monkeypatch.setattr(library, "sources", lambda: {"sharing.cc": b"another"})
    names.add(library.path().name)
    assert len(names) == 3
    assert all(name.startswith("sharing-tf") and name.endswith(".so") for name in names)


def test_without_kernels_the_reference_backend_computes(elsewhere: Path) -> None:
    assert select("auto", SPEC, CPUS).name == "the reference backend (TensorFlow operations)"
    with pytest.raises(UserError, match=r"kernel=native: the native kernel is not built; type: python -m"):
        select("native", SPEC, CPUS)


def test_the_native_kernel_is_for_cpus() -> None:
    assert select("auto", SPEC, ["/GPU:0"]).name == "the reference backend (TensorFlow operations)"
    with pytest.raises(UserError, match=r"runs on CPU devices only; set strategy.kernel=auto"):
        select("native", SPEC, ["/GPU:0"])


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match=r"strategy\.kernel must be auto, native or reference, got plain"):
        select("plain", SPEC, CPUS)  # pyright: ignore[reportArgumentType]


def test_a_damaged_library_is_an_error_that_says_what_to_type(elsewhere: Path) -> None:
    library.path().parent.mkdir(parents=True)
    library.path().write_bytes(b"\x7fELF, but not really")
    with pytest.raises(OSError, match=r"cannot be loaded .*; type: python -m tfscale.scripts.build.kernels --rebuild"):
        library.load()
