"""Paths that users name, and folders that depend on who the user is: one message where looking at one fails.

`Path.is_file` raises if a folder above may not be entered or a name is too long, and `Path.home` if the user has no
home: under `docker run -u`, for instance. Here each is a `UserError` that names the path.
"""

import os
from pathlib import Path

from tfscale.errors import UserError


def expanded(text: str | Path) -> Path:
    """The path with a leading ~ or ~user replaced.

    Raises:
        UserError: That user has no home folder.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UserError(f"{text} begins with the home folder of a user who has none; write the path in full") from None


def unreadable(path: Path, error: OSError) -> UserError:
    """The message for a path that cannot be looked at or read."""
    advice = "check its permissions" if isinstance(error, PermissionError) else "check the path"
    return UserError(f"{path} cannot be read ({error.strerror}); {advice}")


def is_file(path: Path) -> bool:
    """True if there is a file.

    Raises:
        UserError: It cannot be looked at.
    """
    try:
        return path.is_file()
    except OSError as error:
        raise unreadable(path, error) from None


def is_dir(path: Path) -> bool:
    """True if there is a folder; its content may still be unreadable.

    Raises:
        UserError: It cannot be looked at.
    """
    try:
        return path.is_dir()
    except OSError as error:
        raise unreadable(path, error) from None


def first_bytes(path: Path, count: int) -> bytes:
    """The first bytes of a file, fewer if it is shorter.

    Raises:
        UserError: It cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return stream.read(count)
    except OSError as error:
        raise unreadable(path, error) from None


def folders_in(path: Path) -> list[Path]:
    """Folders in a folder, by name; none if it does not exist.

    Raises:
        UserError: It cannot be read.
    """
    try:
        with os.scandir(path) as entries:
            return [path / name for name in sorted(entry.name for entry in entries if entry.is_dir())]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unreadable(path, error) from None


def user_cache() -> Path | None:
    """The user's folder for what can be made again: $XDG_CACHE_HOME or ~/.cache; None for a user without a home."""
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named)
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        return None
