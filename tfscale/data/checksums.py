"""Reads and writes SHA256SUMS beside data files, in the format of `sha256sum`.

`tfscale data fetch` writes the file, and sources verify it where there is one: a format without checksums of its own
does not show a flipped bit.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from tfscale import user_paths
from tfscale.errors import UserError

NAME = "SHA256SUMS"
_LINE = re.compile(r"^([0-9a-fA-F]{64}) [ *](?:\./)?(.+?)\r?$", re.MULTILINE)


def write(folder: Path, names: Iterable[str]) -> None:
    """Writes the sha256 sums of files in a folder."""
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / NAME).write_text("".join(lines))


def verify(path: Path) -> None:
    """Compares a file with the sum that its folder has for it; a folder without sums passes.

    Raises:
        UserError: The sums differ, the folder has sums but none for this file, or a file cannot be read.
    """
    sums = path.parent / NAME
    try:
        if not sums.exists():
            return
        text = sums.read_text(encoding="utf-8", errors="replace")
        with path.open("rb") as stream:
            own = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise user_paths.unreadable(Path(error.filename), error) from None
    checksums = {name: value.lower() for value, name in _LINE.findall(text)}
    if path.name not in checksums:
        raise UserError(f"{sums} has no sum of {path.name}; type in that folder: sha256sum * > {NAME}")
    if checksums[path.name] != own:
        raise UserError(
            f"{path} is damaged: its sha256 sum is not that of {sums}; get it again, or, if you changed it, type in "
            f"that folder: sha256sum * > {NAME}"
        )
