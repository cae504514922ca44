"""Cases of the fuzzer: command lines and files that are damaged at random or hostile."""

import hashlib
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from tfscale.config.compose import recipe_texts
from tfscale.config.preflight import check_job, preflight, with_replicas
from tfscale.config.saved import SUM, write

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
"""Valid command lines, which are changed at random."""

NASTY = (
    "", "null", "true", "-1", "0", "1e309", "-1e309", "nan", "inf", "99999999999999999999", "1_000", "0x10",
    "1e-400", "[]", "{}", "[[[[[[1]]]]]]", "{a:{b:{c:1}}}", "[1,null,x]", "{_target_:os.system}",
    "[{_target_:os.system}]", "'", "\"", "\\", "\x00", "\x1b[2J", "\u202e", "\ud7ff", "é", "💥", "a" * 5000,
    "[" * 300, "${", "${seed}", "${.seed}", "${oc.env:HOME}", "${oc.decode:'[1'}",
    "${oc.create:{_target_:os.system}}",
    "'\\${oc.create:{_target_: os.system}}'", "${hydra:run.dir}", "${train}", "${a.b}", "../../etc/passwd",
    "/etc/passwd", "/dev/zero", "~/x", "file:///etc/passwd", "%s%n", "{0.__class__}", "$(id)", ";id",
    "os.system", "builtins.exec", "subprocess.Popen", "pickle.loads", "keras.utils.get_file", "tfscale.cli.main",
    "!!python/object/apply:os.system [id]", "*a", "&a [*a]", "<<: *a", "? a", "@x", "`id`", "???", "auto",
    "default",
)  # fmt: skip
"""Values that are likely to be handled wrongly."""
ROUGH = "\x00\t\n ~!@#$%^&*()_+-=[]{}|;:'\",.<>/?\\aA0é💥"


def _mutated(text: str, chance: random.Random, *, most: int = 6) -> str:
    """Returns the text with some of its characters changed."""
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
    """Makes cases.

    Args:
        folder: Folder for the files of a case; emptied before the next.
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
        run = Path(tempfile.mkdtemp())
        config = check_job(preflight(["run.name=one"], config_dir=None), processes=1)
        write(with_replicas(config, 2), run)
        self._saved = (run / "config.yaml").read_text()
        shutil.rmtree(run)

    def make(self, chance: random.Random) -> Sequence[str]:
        """Returns the command line of a case, and writes its files into the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        kinds: Sequence[Callable[[random.Random], Sequence[str]]] = (
            self._words, self._words, self._values, self._values, self._file, self._file, self._node, self._saved_run,
            self._metrics,
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
        """A file that is valid YAML and hostile."""
        name = chance.choice(sorted(self._files))
        hostile = chance.choice(
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
        text = self._files[name] + hostile if chance.random() < 0.5 else hostile
        self._write(f"conf/{name}", text)
        return ["train", "--config-dir", str(self._folder / "conf"), *_choice(name)]

    def _saved_run(self, chance: random.Random) -> Sequence[str]:
        text = _mutated(self._saved, chance, most=12).replace("\r", "")
        if chance.random() < 0.7:  # with the right sum
            text = text.rpartition(SUM.decode())[0] or text
            text += SUM.decode() + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() + "\n"
        self._write("runs/one/config.yaml", text)
        return [*chance.choice((["resume", "one"], ["evaluate", "run=one"])), f"run.dir={self._folder / 'runs'}"]

    def _metrics(self, chance: random.Random) -> Sequence[str]:
        self._write("runs/one/config.yaml", self._saved)
        summary = '{"steps": 100, "metrics": ["accuracy"], "accuracy": 0.5, "processes": 2}'
        event = '{"event": "end", "when": 1.5, "code": 1, "cause": "x", "step": 3}\n'
        start = '{"event": "start", "when": 1.0, "restarts": 1, "processes": [1, 2], "checkpoint": null}\n'
        lost = '{"event": "training", "when": 1.0, "step": 2, "seconds_lost": 2.5}\n'
        self._write("runs/one/summary.json", _mutated(summary, chance))
        self._write("runs/one/events.jsonl", _mutated(start + lost + event, chance))
        self._write("runs/one/logs/rank-0.heartbeat", _mutated("x" * 80, chance))
        return ["runs", f"run.dir={self._folder / 'runs'}"]

    def _write(self, name: str, text: str) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))


def bomb() -> str:
    """Ten lines of YAML that expand to 9^10 values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 10)]
    return "\n".join(lines) + "\n"


def _choice(name: str) -> list[str]:
    """The override that chooses the option of a file."""
    group, _, option = name.removesuffix(".yaml").rpartition("/")
    return [f"{group}={option}"] if group else []


def _keys(node: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{name}.")
