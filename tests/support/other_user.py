"""Commands as another user runs them, one without a home or with folders that may not be entered (`docker run -u`)."""

import os
import shutil
import site
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 4242
"""A uid without an entry in /etc/passwd."""


def as_other_user(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `tfscale` under another uid; environment variables with an empty value are removed."""
    command, python = _command()
    variables = {**os.environ, **python, "PYTHONDONTWRITEBYTECODE": "1", **environment}
    return subprocess.run(
        [*command, "-P", "-m", "tfscale", *words],
        cwd=cwd,
        env={name: value for name, value in variables.items() if value},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@contextmanager
def effective_user() -> Iterator[None]:
    """This process has the other user's rights to files, for what needs no process of its own; skips without root."""
    if os.geteuid() != 0:
        pytest.skip("changing the uid needs root")
    group, groups = os.getegid(), os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def _command() -> tuple[list[str], Mapping[str, str]]:
    """A Python that the other user may run, and its environment; skips the test if there is none."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("changing the uid needs root and setpriv")
    prefix = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
    packages = os.pathsep.join([str(Path(__file__).parents[2]), *site.getsitepackages()])
    version = "import sys; print(sys.version_info[:2])"
    for python in (sys.executable, "/usr/bin/python3"):
        done = subprocess.run([*prefix, python, "-c", version], capture_output=True, text=True, check=False)
        if done.stdout.strip() == str(sys.version_info[:2]):
            return [*prefix, python], {"PYTHONPATH": packages}
    pytest.skip("no Python of this version may be run by another user")
