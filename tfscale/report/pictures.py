"""Pictures of a run as data URIs, within a budget of bytes: the page loads nothing."""

import base64
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tfscale.runs.plots import NAMES

SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture.

    Attributes:
        name: Of its file.
        uri: Its content; None if it is too large for the page.
        is_plot: Whether the run has drawn it at its end, from figures that the page has as curves.
    """

    name: str
    uri: str | None
    is_plot: bool


def pictures_of(folder: Path, budget: int) -> Sequence[Picture]:
    """Returns the pictures in a run directory, those of evaluations first.

    Args:
        folder: The run directory.
        budget: Bytes of all pictures as text; the first ones that fit are embedded.
    """
    found = []
    with suppress(OSError):
        for path in sorted(folder.glob("*.png"), key=lambda path: (path.name in NAMES, path.name)):
            uri = _uri(path, budget)
            budget -= len(uri or "")
            found.append(Picture(name=path.name, uri=uri, is_plot=path.name in NAMES))
    return found


def _uri(path: Path, budget: int) -> str | None:
    with suppress(OSError):
        if path.is_file() and path.stat().st_size * 4 / 3 < budget:
            content = path.read_bytes()
            if content.startswith(SIGNATURE):
                return f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return None
