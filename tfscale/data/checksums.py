"""SHA256SUMS beside data files, as `sha256sum FILES > SHA256SUMS` writes it: a folder that has one is held to it.

`tfscale data fetch` writes one. Without it, formats that have no sums of their own hide a flipped bit.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from tfscale.errors import UserError

NAME = "SHA256SUMS"
_LINE = re.compile(r"^([0-9a-fA-F]{64}) [ *](?:\./)?(.+?)\r?$", re.MULTILINE)


def write(folder: Path, names: Iterable[str]) -> None:
    """Writes the sums of files in a folder."""
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / NAME).write_text("".join(lines))


def verify(path: Path) -> None:
    """Holds a file to the sum that its folder has for it.

    Raises:
        UserError: It has another, or the folder has sums, but none for it.
    """
    place = path.parent / NAME
    if not place.exists():
        return
    try:
        text = place.read_text(encoding="utf-8", errors="replace")
        with path.open("rb") as stream:
            own = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read ({error.strerror}); check its permissions") from None
    checksums = {name: value.lower() for value, name in _LINE.findall(text)}
    if path.name not in checksums:
        raise UserError(f"{place} has no sum of {path.name}; type in that folder: sha256sum * > {NAME}")
    if checksums[path.name] != own:
        raise UserError(
            f"{path} is damaged: its sha256 sum is not that of {place}; get it again, or, if you changed it, type in "
            f"that folder: sha256sum * > {NAME}"
        )
