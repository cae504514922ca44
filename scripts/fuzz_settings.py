"""Throws damaged and hostile settings at tfscale, and looks whether each gets its one clear message and nothing more.

usage: python -m tfscale.scripts.fuzz_settings [--count 20000] [--seed 1] [--only NUMBER]

Command lines, a user's YAML files, saved configurations and the records of a run are made from the seed and the number
of the case. Everything up to the moment where a run would get its folder is run for real, in this process. A case is
sound if it is accepted, or refused with exit code 2 and at most a screen of words; and if meanwhile no code was made or
run but imported modules, no process started, nothing unpickled, and no file written.
"""

import argparse
import contextlib
import hashlib
import io
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import typing
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any
from unittest import mock

from tfscale import cli
from tfscale.commands import evaluate, train
from tfscale.config.compose import recipe_texts
from tfscale.config.preflight import SUM, check_job, preflight, with_replicas, write

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
GOOD = (
    "strategy=sharing strategy/codec=rice strategy.threshold.density=0.01 train.steps=10",
    "model=lenet data=synthetic data.shape=[28,28,1] optimizer=adam optimizer.learning_rate=1e-3",
    "strategy=local strategy.every=4 strategy.replicas=3 train.batch=8",
    "model.hidden=[64,32] schedule=cosine schedule.warmup_steps=5 +optimizer.clipvalue=1.0",
    "strategy=horovod launch.np=2 launch.hosts=[a:1,b:1] run.name=x",
    "recipe=sharing_slow_link train.epochs=2",
    "early_stopping.patience=3 early_stopping.monitor=accuracy train.max_time=5",
    "+metrics.top._target_=keras.metrics.SparseTopKCategoricalAccuracy",
    "-m strategy=local,sharing optimizer.learning_rate=0.1,0.2",
    "data=npz data.file=x.npz",
)
"""Command lines that are changed at random."""

NASTY = (
    *(
        "",
        "null",
        "true",
        "-1",
        "0",
        "1e309",
        "-1e309",
        "nan",
        "inf",
        "99999999999999999999",
        "1_000",
        "0x10",
        "1e-400",
    ),
    *("[]", "{}", "[[[[[[1]]]]]]", "{a:{b:{c:1}}}", "[1,null,x]", "{_target_:os.system}", "[{_target_:os.system}]"),
    *(
        "'",
        '"',
        "\\",
        "\x00",
        "\x1b[2J",
        "\u202e",
        "\ud7ff",
        "é",
        "💥",
        "a" * 5000,
        "[" * 300,
        "${",
        "${seed}",
        "${.seed}",
    ),
    *(
        "${oc.env:HOME}",
        "${oc.decode:'[1'}",
        "${oc.create:{_target_:os.system}}",
        "${hydra:run.dir}",
        "${train}",
        "${a.b}",
    ),
    *(
        "../../etc/passwd",
        "/etc/passwd",
        "/dev/zero",
        "~/x",
        "file:///etc/passwd",
        "%s%n",
        "{0.__class__}",
        "$(id)",
        ";id",
    ),
    *("os.system", "builtins.exec", "subprocess.Popen", "pickle.loads", "keras.utils.get_file", "tfscale.cli.main"),
    *("!!python/object/apply:os.system [id]", "*a", "&a [*a]", "<<: *a", "? a", "@x", "`id`", "???", "auto", "default"),
)
ROUGH = "\x00\t\n ~!@#$%^&*()_+-=[]{}|;:'\",.<>/?\\aA0é💥"


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


def _mutated(text: str, chance: random.Random, *, most: int = 6) -> str:
    """The text with some of its characters changed."""
    letters = list(text)
    for _ in range(chance.randint(1, most)):
        at = chance.randrange(len(letters) + 1)
        kind = chance.randrange(6)
        if kind == 0:
            letters[at : at + chance.randint(1, 5)] = []
        elif kind == 1:
            letters[at:at] = chance.choice(ROUGH)
        elif kind == 2:
            letters[at : at + 1] = chance.choice(ROUGH)
        elif kind == 3:
            letters[at:at] = chance.choice(NASTY)
        elif kind == 4 and letters:
            other = chance.randrange(len(letters))
            letters[at:at] = letters[other : other + chance.randint(1, 20)]
        else:
            del letters[at + chance.randint(0, 30) :]
    return "".join(letters)


class Cases:
    """What is thrown.

    Args:
        folder: For the files of one case; emptied before the next.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        conf = files("tfscale.conf")
        groups = [entry for entry in conf.iterdir() if entry.is_dir() and not entry.name.startswith("_")]
        self._files = {
            f"{group.name}/{entry.name}": entry.read_text(encoding="utf-8")
            for group in sorted(groups, key=lambda each: each.name)
            for entry in sorted(group.iterdir(), key=lambda each: each.name)
            if entry.name.endswith(".yaml")
        }
        self._files |= {f"recipe/{name}.yaml": f"# @package _global_\n{text}" for name, text in recipe_texts().items()}
        self._files["config.yaml"] = conf.joinpath("config.yaml").read_text(encoding="utf-8")
        self._keys = sorted(_keys(preflight([], config_dir=None).model_dump()))
        place = Path(tempfile.mkdtemp())
        config = check_job(preflight(["run.name=one"], config_dir=None), processes=1)
        write(with_replicas(config, 2), place)
        self._saved = (place / "config.yaml").read_text()
        shutil.rmtree(place)

    def make(self, chance: random.Random) -> Sequence[str]:
        """A case: its command line, with its files in the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        kinds: Sequence[Callable[[random.Random], Sequence[str]]] = (
            self._words, self._words, self._values, self._values, self._file, self._file, self._node, self._saved_run,
            self._records,
        )  # fmt: skip
        return chance.choice(kinds)(chance)

    def _words(self, chance: random.Random) -> Sequence[str]:
        words = _mutated(chance.choice(GOOD), chance).split(" ")
        return ["train", *words]

    def _values(self, chance: random.Random) -> Sequence[str]:
        words = []
        for _ in range(chance.randint(1, 4)):
            sign = chance.choice(("", "", "", "+", "++", "~"))
            words.append(f"{sign}{chance.choice(self._keys)}={chance.choice(NASTY)}")
        return [chance.choice(("train", "train", "train", "resume", "evaluate", "ls", "runs", "trian")), *words]

    def _file(self, chance: random.Random) -> Sequence[str]:
        name = chance.choice(sorted(self._files))
        self._write(f"conf/{name}", _mutated(self._files[name], chance, most=12))
        return ["train", "--config-dir", str(self._folder / "conf"), *_choice(name)]

    def _node(self, chance: random.Random) -> Sequence[str]:
        """A file that is sound YAML and means harm."""
        name = chance.choice(sorted(self._files))
        harm = chance.choice(
            (
                f"_target_: {chance.choice(NASTY)!r}\n",
                bomb(),
                "a: " + "[" * 5000 + "]" * 5000 + "\n",
                "hydra:\n  run:\n    dir: /tmp/elsewhere\n",
                "defaults:\n  - override hydra/launcher: joblib\n",
                "trust: [os, subprocess]\nmodel:\n  _target_: os.system\n",
                f"x: !!python/object/apply:os.system ['touch {self._folder}/harm']\n",
                f"x: {chance.choice(NASTY)}\n",
                f"{chance.choice(self._keys).replace('.', ': {', 1)}: {chance.choice(NASTY)}\n",
                "# @package hydra.run\ndir: /tmp/elsewhere\n",
                "x: '" + "y" * 400_000 + "'\n",
                "_args_: [1]\n_recursive_: true\n_convert_: all\n",
            )
        )  # fmt: skip
        text = self._files[name] + harm if chance.random() < 0.5 else harm
        self._write(f"conf/{name}", text)
        return ["train", "--config-dir", str(self._folder / "conf"), *_choice(name)]

    def _saved_run(self, chance: random.Random) -> Sequence[str]:
        text = _mutated(self._saved, chance, most=12).replace("\r", "")
        if chance.random() < 0.7:  # as if it were meant
            text = text.rpartition(SUM.decode())[0] or text
            text += SUM.decode() + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() + "\n"
        self._write("runs/one/config.yaml", text)
        return [*chance.choice((["resume", "one"], ["evaluate", "run=one"])), f"run.dir={self._folder / 'runs'}"]

    def _records(self, chance: random.Random) -> Sequence[str]:
        self._write("runs/one/config.yaml", self._saved)
        summary = '{"steps": 100, "metrics": ["accuracy"], "accuracy": 0.5, "processes": 2}'
        event = '{"event": "end", "when": 1.5, "code": 1, "cause": "x", "step": 3}\n'
        start = '{"event": "start", "when": 1.0, "restarts": 1, "processes": [1, 2], "checkpoint": null}\n'
        lost = '{"event": "training", "when": 1.0, "step": 2, "seconds_lost": 2.5}\n'
        self._write("runs/one/summary.json", _mutated(summary, chance))
        self._write("runs/one/membership.jsonl", _mutated(start + lost + event, chance))
        self._write("runs/one/logs/rank-0.pulse", _mutated("x" * 80, chance))
        return ["runs", f"run.dir={self._folder / 'runs'}"]

    def _write(self, name: str, text: str) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))


def bomb() -> str:
    """Ten lines that stand for 9^10 values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 10)]
    return "\n".join(lines) + "\n"


def _choice(name: str) -> list[str]:
    """The word that chooses the option of a file."""
    group, _, option = name.removesuffix(".yaml").rpartition("/")
    return [f"{group}={option}"] if group else []


def _keys(node: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{name}.")


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
                mock.patch.object(evaluate, "start_quietly", side_effect=Accepted),
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
