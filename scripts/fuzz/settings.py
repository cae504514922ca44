"""Fuzzes settings: each damaged or hostile case must get one clear message and have no other effect.

usage: python -m tfscale.scripts.fuzz.settings [--count 20000] [--seed 1] [--only NUMBER]

Command lines, a user's YAML files, saved configurations and the files of a run are generated from the seed and the
number of the case. This process runs each command up to the point where a run would get its folder. A case passes if it
is accepted, or refused with exit code 2 and at most a screen of text, and if meanwhile no code but that of imported
modules was compiled or run, no process was started, nothing was unpickled, and no file was written.
"""

import argparse
import contextlib
import io
import os
import random
import resource
import signal
import sys
import tempfile
import traceback
import typing
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from tfscale.scripts.fuzz.cases import Cases

from tfscale import cli
from tfscale.commands import evaluate, prepare, train

SCREEN = (24, 6000)
"""Lines and characters of a refusal, at most."""

SECONDS = 20
"""Seconds for one case, at most."""

FORBIDDEN = (
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn"),
    *("pickle.find_class", "code.__new__", "socket.connect", "socket.bind", "ctypes.dlopen"),
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.truncate", "os.kill"),
    *("shutil.rmtree", "shutil.move", "shutil.copyfile", "urllib.Request", "webbrowser.open"),
)


class Accepted(Exception):
    """The settings are valid."""


INSTALLED = (sys.prefix, sys.base_prefix, "<frozen", str(Path(cli.__file__).parent))
"""Beginnings of the paths of modules that may be imported."""


def _is_importing() -> bool:
    """True during the import of an installed module or the evaluation of its annotations."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename == typing.__file__:  # names of types in annotations
            return True
        if frame.f_code.co_name == "<module>" and frame.f_code.co_filename.startswith(INSTALLED):
            return "importlib" in str(frame.f_back and frame.f_back.f_code.co_filename)
        frame = frame.f_back
    return False


class Audit:
    """Records forbidden audit events while it is on."""

    def __init__(self) -> None:
        self.on, self.events = False, list[str]()
        sys.addaudithook(self._record)

    def _record(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in FORBIDDEN:
            self.events.append(f"{event} {arguments!r}"[:300])
        elif (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        ):
            self.events.append(f"open for writing {arguments[0]!r}")
        elif event in ("exec", "compile"):
            code = arguments[0] if event == "exec" else arguments[1]
            name = str(getattr(code, "co_filename", code))
            if not name.startswith(INSTALLED) and not _is_importing():
                where = "".join(traceback.format_stack(sys._getframe(1), limit=12))
                self.events.append(f"{event} {name!r}\n{where}")


def _late(number: int, frame: object) -> None:
    raise TimeoutError(f"no answer in {SECONDS} s")


def run_case(words: Sequence[str], audit: Audit) -> tuple[str, str]:
    """Runs one command line as far as its checks go.

    Returns:
        accepted, refused or wrong; and the reason for wrong.
    """
    errors, audit.events = io.StringIO(), []
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            audit.on = True
            code = cli.main(words)
    except Accepted:
        code = 0
    except BaseException:  # noqa: BLE001 - a user would have seen its traceback
        return "wrong", traceback.format_exc()[-1500:]
    finally:
        audit.on = False
        signal.alarm(0)
    if audit.events:
        return "wrong", "; ".join(audit.events)
    text = errors.getvalue()
    if code not in (0, 2):
        return "wrong", f"exit code {code}: {text[:500]}"
    if code == 2 and (not text.strip() or "Traceback" in text):
        return "wrong", f"refused with {text[:500]!r}"
    if text.count("\n") > SCREEN[0] or len(text) > SCREEN[1]:
        return "wrong", f"{text.count(chr(10))} lines, {len(text)} characters: {text[:300]}"
    return ("refused" if code else "accepted"), ""


def fuzz(numbers: Sequence[int], seed: int) -> tuple[Counter[str], list[str]]:
    """Runs the cases with these numbers; returns the number of each outcome, and the problems."""
    outcomes, problems = Counter[str](), list[str]()
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as temporary:
        cases, audit = Cases(Path(temporary) / "case"), Audit()
        os.chdir(temporary)
        signal.signal(signal.SIGALRM, _late)
        try:
            with (
                mock.patch.object(train, "require_loopback"),  # opens a socket
                mock.patch.object(prepare, "directory_of", side_effect=Accepted),
                mock.patch.object(prepare.run_directory, "create", side_effect=Accepted),
                mock.patch.object(evaluate, "hidden_startup_noise", side_effect=Accepted),
            ):
                for name in (
                    "train",
                    "ls",
                    "runs",
                    "resume",
                    "evaluate",
                ):  # imports at first use are not part of a case
                    run_case([name, "run.dir=x"], audit)
                    run_case([name], audit)
                for number in numbers:
                    words = cases.make(random.Random(f"{seed} {number}"))
                    outcome, why = run_case(words, audit)
                    outcomes[outcome] += 1
                    if why:
                        problems.append(f"case {number}: {words!r}\n{why}")
        finally:
            os.chdir(home)
    return outcomes, problems


def main() -> None:
    """Runs the cases; exit code 1 if one was wrong."""
    parser = argparse.ArgumentParser(description="Fuzzes the settings of tfscale.")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, default=None, help="only the case with this number")
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))  # a YAML bomb is then an error
    numbers = range(arguments.first, arguments.first + arguments.count) if arguments.only is None else [arguments.only]
    outcomes, problems = fuzz(numbers, arguments.seed)
    for problem in problems[:50]:
        print(problem, file=sys.stderr)
    print(f"seed {arguments.seed}: {', '.join(f'{count:,} {name}' for name, count in sorted(outcomes.items()))}")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
