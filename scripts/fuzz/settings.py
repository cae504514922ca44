"""Throws damaged and hostile settings at tfscale, and looks whether each gets its one clear message and nothing more.

usage: python -m tfscale.scripts.fuzz.settings [--count 20000] [--seed 1] [--only NUMBER]

Command lines, a user's YAML files, saved configurations and the records of a run are made from the seed and the number
of the case. Everything up to the moment where a run would get its folder is run for real, in this process. A case is
sound if it is accepted, or refused with exit code 2 and at most a screen of words; and if meanwhile no code was made or
run but imported modules, no process started, nothing unpickled, and no file written.
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
from tfscale.commands import evaluate, train

SCREEN = (24, 6000)
"""Lines and characters that a refusal may have."""

SECONDS = 20
"""For one case."""

FORBIDDEN = (
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn"),
    *("pickle.find_class", "code.__new__", "socket.connect", "socket.bind", "ctypes.dlopen"),
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.truncate", "os.kill"),
    *("shutil.rmtree", "shutil.move", "shutil.copyfile", "urllib.Request", "webbrowser.open"),
)


class Accepted(Exception):
    """The settings are right."""


INSTALLED = (sys.prefix, sys.base_prefix, "<frozen", str(Path(cli.__file__).parent))
"""Where modules come from that may be imported."""


def _is_importing() -> bool:
    """Whether what happens now is the import of an installed module, or of its annotations."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename == typing.__file__:  # names of types in annotations
            return True
        if frame.f_code.co_name == "<module>" and frame.f_code.co_filename.startswith(INSTALLED):
            return "importlib" in str(frame.f_back and frame.f_back.f_code.co_filename)
        frame = frame.f_back
    return False


class Watch:
    """Notes what an audit hook hears while it is on."""

    def __init__(self) -> None:
        self.on, self.heard = False, list[str]()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in FORBIDDEN:
            self.heard.append(f"{event} {arguments!r}"[:300])
        elif (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        ):
            self.heard.append(f"open for writing {arguments[0]!r}")
        elif event in ("exec", "compile"):
            code = arguments[0] if event == "exec" else arguments[1]
            name = str(getattr(code, "co_filename", code))
            if not name.startswith(INSTALLED) and not _is_importing():
                where = "".join(traceback.format_stack(sys._getframe(1), limit=12))
                self.heard.append(f"{event} {name!r}\n{where}")


def _late(number: int, frame: object) -> None:
    raise TimeoutError(f"no answer in {SECONDS} s")


def throw(words: Sequence[str], watch: Watch) -> tuple[str, str]:
    """Runs one command line as far as its checks go.

    Returns:
        accepted, refused or wrong; and what was wrong.
    """
    said, watch.heard = io.StringIO(), []
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            watch.on = True
            code = cli.main(words)
    except Accepted:
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, a user would have seen its traceback
        return "wrong", traceback.format_exc()[-1500:]
    finally:
        watch.on = False
        signal.alarm(0)
    if watch.heard:
        return "wrong", "; ".join(watch.heard)
    text = said.getvalue()
    if code not in (0, 2):
        return "wrong", f"exit code {code}: {text[:500]}"
    if code == 2 and (not text.strip() or "Traceback" in text):
        return "wrong", f"refused with {text[:500]!r}"
    if text.count("\n") > SCREEN[0] or len(text) > SCREEN[1]:
        return "wrong", f"{text.count(chr(10))} lines, {len(text)} characters: {text[:300]}"
    return ("refused" if code else "accepted"), ""


def fuzz(numbers: Sequence[int], seed: int) -> tuple[Counter[str], list[str]]:
    """Throws the cases with these numbers; returns how many ended how, and what was wrong."""
    outcomes, problems = Counter[str](), list[str]()
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as temporary:
        cases, watch = Cases(Path(temporary) / "case"), Watch()
        os.chdir(temporary)
        signal.signal(signal.SIGALRM, _late)
        try:
            with (
                mock.patch.object(train, "_directory", side_effect=Accepted),
                mock.patch.object(train.run_directory, "create", side_effect=Accepted),
                mock.patch.object(evaluate, "hidden_startup_noise", side_effect=Accepted),
            ):
                for name in ("train", "ls", "runs", "resume", "evaluate"):  # what is imported when it is first needed
                    throw([name, "run.dir=x"], watch)
                    throw([name], watch)
                for number in numbers:
                    words = cases.make(random.Random(f"{seed} {number}"))
                    outcome, why = throw(words, watch)
                    outcomes[outcome] += 1
                    if why:
                        problems.append(f"case {number}: {words!r}\n{why}")
        finally:
            os.chdir(home)
    return outcomes, problems


def main() -> None:
    """Throws the cases; exit code 1 if one was wrong."""
    parser = argparse.ArgumentParser(description="Throws damaged and hostile settings at tfscale.")
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
