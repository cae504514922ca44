"""Packages that a source needs and tfscale does not: named before anything is read."""

from importlib.util import find_spec

from tfscale.errors import UserError


def require_package(package: str, extra: str) -> None:
    """Checks that an optional package is installed.

    Args:
        package: Its name, when it is imported.
        extra: Of tfscale, which brings it, and the option of `data`.

    Raises:
        UserError: It is not.
    """
    if find_spec(package) is None:
        raise UserError(f"data={extra} needs the package {package}; type: pip install 'tfscale[{extra}]'")
