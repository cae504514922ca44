"""The command as a person types it: fast help, one message, exit codes."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.datasets import write_idx
from tests.support.forked_commands import forked
from tfscale import __version__
from tfscale.cli import COMMANDS
from tfscale.commands.arguments import PARSERS


def typed(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "tfscale", *words], cwd=cwd, capture_output=True, text=True, timeout=240, check=False
    )


def tfscale(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in a fork, for what does not depend on imports."""
    return forked().completed(words, cwd, {**os.environ, **environment})


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["ls"],
        ["--version"],
        *(["train", "--help"], ["resume", "-h"], ["runs", "--help"], ["evaluate", "--help"], ["ls", "--help"]),
        *(["reproduce", "--help"], ["data", "--help"], ["doctor", "--help"], ["data"]),
    ],
)
def test_what_must_answer_at_once_imports_nothing_that_takes_time(words: list[str]) -> None:
    slow = {"tensorflow", "keras", "horovod"} | ({"hydra", "pydantic", "numpy"} if "-" in words[-1] else set())
    code = (
        "import sys; from tfscale.cli import main\n"
        f"code = main({words!r})\n"
        f"assert not {slow} & set(sys.modules)\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_every_command_has_a_parser_and_a_help_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert COMMANDS.keys() == PARSERS.keys()
    for name, make in PARSERS.items():
        assert make().read(["--help"]) is None
        assert capsys.readouterr().out.startswith(f"usage: tfscale {name}")


def test_options_may_stand_between_arguments() -> None:
    flags = PARSERS["train"]().read(["seed=1", "-m", "~trust", "--config-dir", "conf", "train.steps=2"])
    assert flags is not None
    assert (flags.overrides, flags.multirun, flags.config_dir) == (["seed=1", "~trust", "train.steps=2"], True, "conf")


def test_version() -> None:
    assert typed("--version").stdout.strip() == f"tfscale {__version__}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "trian is not a command; did you mean tfscale train?"),
        (["strategy=local"], "did you mean tfscale train strategy=local?"),
        (["train", "stratgy=sharing"], "stratgy is not a key; did you mean strategy?"),
        (["train", "--multi"], "--multi is not an option of this command; type: tfscale train --help"),
        (["ls", "modle"], "modle is not a group; did you mean model?"),
        (["data", "fetch", "minst"], "minst is not a data set that can be fetched; did you mean mnist?"),
        (["evaluate"], "evaluate must have the name of a run; type: tfscale evaluate NAME"),
        (["evaluate", "one", "run=two"], "evaluate must have one run, got one and two; type: tfscale evaluate one"),
        (["ls", "--all"], "--all is not an option of this command; type: tfscale ls --help"),
        (["ls", "model", "data"], "data is not an argument of this command; type: tfscale ls --help"),
        (["ls", "--config-dir"], "argument --config-dir: expected one argument; type: tfscale ls --help"),
        (["data", "get", "mnist"], "tfscale data get mnist is not a command; type: tfscale data fetch NAME"),
        (["resume", "a", "-m"], "-m is not an option of this command; type: tfscale resume --help"),
        (["train", "--cfg"], "argument --cfg/-c: expected one argument; type: tfscale train --help"),
        (["runs", "run.dir=a,b"], "run.dir=a,b has several values, and this command takes one; quote a comma"),
        (["resume"], "there are no runs in runs; type tfscale train, or name their folder: run.dir=DIR"),
        (["resume", "one", "two"], "resume must have one run, got one and two; type: tfscale resume one"),
        (["resume", "none"], "run none does not exist in runs; there are no runs in runs"),
        (["runs"], "there are no runs in runs; type tfscale train, or name their folder: run.dir=DIR"),
        (["runs", "one"], "runs takes run.dir=DIR only, got one; type: tfscale runs --help"),
        (["evaluate", "run=none"], "run none does not exist in runs; there are no runs in runs"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(words: list[str], message: str, tmp_path: Path) -> None:
    done = tfscale(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir()), "nothing may be left behind"


def test_ranks_do_not_sweep(tmp_path: Path) -> None:
    done = tfscale("train", "-m", "seed=1,2", cwd=tmp_path, HOROVOD_RANK="0", HOROVOD_SIZE="2")
    assert done.returncode == 2
    assert "-m starts processes for each job itself" in done.stderr


def test_sigterm_ends_a_single_process_cleanly(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tfscale", "train", "train.epochs=100000", "run.name=one"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    checkpoints = tmp_path / "runs" / "one" / "checkpoints"
    deadline = time.monotonic() + 60
    while not list(checkpoints.glob("step-*[0-9]")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.terminate()
    _, errors = process.communicate(timeout=15)
    assert process.returncode == 143
    assert errors.splitlines() == [
        "tfscale: stopped by SIGTERM; go on after its last checkpoint with: tfscale resume one"
    ]


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_mistake_is_printed_once_at_any_number_of_ranks(rank: str, tmp_path: Path) -> None:
    done = tfscale("train", "stratgy=sharing", cwd=tmp_path, HOROVOD_RANK=rank, HOROVOD_SIZE="2")
    assert done.returncode == 2
    assert bool(done.stderr) == (rank == "0")


def test_a_first_run_learns_digits_in_an_empty_folder(tmp_path: Path) -> None:
    done = typed("train", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "TensorFlow's chatter is off"
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name == "mlp-digits-local-001", "strategy=local was called parameter_averaging"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["accuracy"] >= 0.95
    assert summary["directions"] == {"loss": "min", "accuracy": "max"}
    assert {
        "steps",
        "seconds",
        "samples_per_second",
        "bytes_sent",
        "bytes_dense",
        "bytes_ratio",
    } <= summary.keys()
    # Twice the vector, a fifth as often; and a few words with which replicas agree.
    assert summary["bytes_dense"] == pytest.approx(5 * summary["bytes_sent"] / 2, rel=1e-4)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {record["kind"] for record in records} == {"step", "train", "test"}
    assert records[-1]["accuracy"] == pytest.approx(summary["accuracy"], abs=1e-6)
    assert (run / "config.yaml").is_file()
    environment = json.loads((run / "environment.json").read_text())
    assert environment["tensorflow"].startswith("2.21.")
    assert environment["packages"]["tensorflow"] == environment["tensorflow"]
    assert (environment["command"], environment["overrides"]) == ("tfscale train", [])
    assert environment["choices"]["strategy"] == "local"
    assert environment["folder"] == str(tmp_path)
    assert environment["cpu"] and environment["memory"] > 1 << 28
    assert environment["steps"] == summary["steps"]
    assert summary["parameters_sha256"] in (run / "logs" / "rank-0.log").read_text()
    assert re.search(r"test accuracy +│ 0\.9", done.stdout)
    again = tfscale("evaluate", run.name, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["accuracy"] == pytest.approx(summary["accuracy"], abs=1e-6)


@pytest.mark.slow
def test_an_earlier_run_is_not_overwritten_and_can_go_on(tmp_path: Path) -> None:
    words = ("train", "run.name=one", "train.batch=16")
    assert tfscale(*words, "train.steps=10", cwd=tmp_path).returncode == 0
    refused = tfscale(*words, cwd=tmp_path)
    assert refused.returncode == 2
    assert "type tfscale resume one to go on with it, or give another run.name" in refused.stderr
    more = tfscale("resume", "train.steps=20", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert "going on after step 10" in more.stdout
    assert tfscale("train", "run.name=two", "train.batch=16", "train.steps=20", cwd=tmp_path).returncode == 0
    one, two = (json.loads((tmp_path / "runs" / name / "summary.json").read_text()) for name in ("one", "two"))
    assert one["steps"] == two["steps"] == 20
    assert one["parameters_sha256"] == two["parameters_sha256"]


@pytest.mark.slow
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_used(tmp_path: Path) -> None:
    words = ("train", "run.name=one", "train.batch=16", "train.steps=20", "train.checkpoint_every=10")
    assert tfscale(*words, cwd=tmp_path).returncode == 0
    run = tmp_path / "runs" / "one"
    before = json.loads((run / "summary.json").read_text())["parameters_sha256"]
    (run / "checkpoints" / "step-000000020" / "shared-0000.safetensors").write_bytes(b"")
    done = tfscale("resume", "one", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (
        "warning: checkpoint step-000000020 is damaged (shared-0000.safetensors has the wrong sha256 sum)"
        in done.stdout
    )
    assert "going on after step 10" in done.stdout
    assert json.loads((run / "summary.json").read_text())["parameters_sha256"] == before
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert names == ["damaged-step-000000020", "step-000000010", "step-000000020"]


def test_a_damaged_file_is_exit_code_2(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "d", train=30, test=20, zipped=True)
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-30])
    done = tfscale("train", "data=mnist", "data.folder=d", "model=lenet", cwd=tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(r"tfscale: d/train-images-idx3-ubyte.gz cannot be read \(.*\); get it again\n", done.stderr)


def test_a_model_that_does_not_take_the_data_is_exit_code_2_and_leaves_its_name_free(tmp_path: Path) -> None:
    done = tfscale("train", "model=lenet", "run.name=one", cwd=tmp_path)
    assert done.returncode == 2
    assert "model=lenet must have images of at least 16x16, got input shape (8, 8, 1)" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "runs" / "one").exists()


def test_tensorboard_files_are_written(tmp_path: Path) -> None:
    done = tfscale("train", "tracker=tensorboard", "train.steps=3", "run.name=one", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "runs" / "one" / "tensorboard").glob("events.out.*"))


def test_cfg_prints_the_configuration_and_starts_nothing(tmp_path: Path) -> None:
    done = tfscale("train", "strategy=sharing", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0
    assert "GradientSharing" in done.stdout
    assert tfscale("train", "--info", "defaults", cwd=tmp_path).returncode == 0
    assert not list(tmp_path.iterdir())


def test_a_strategy_model_and_data_of_the_users_own(tmp_path: Path) -> None:
    """By `_target_`, from files in the current folder, named in `trust`."""
    (tmp_path / "mine.py").write_text(
        "import keras, numpy as np\n"
        "from tfscale.data.base import Arrays\n"
        "from tfscale.strategies.gradient_averaging.strategy import GradientAveraging\n"
        "def points(*, count):\n"
        "    x = np.random.default_rng(0).standard_normal((count, 2)).astype('float32')\n"
        "    y = (x[:, 0] > 0).astype('int32')\n"
        "    return Arrays(x, y, x, y, 1.0, 2)\n"
        "def net(*, units):\n"
        "    dense = keras.layers.Dense\n"
        "    return keras.Sequential([keras.Input((2,)), dense(units), dense(2, 'softmax')])\n"
        "class Mine(GradientAveraging):\n"
        "    def __init__(self, *, collective, factor):\n"
        "        super().__init__(collective=collective)\n"
        "        self.factor = factor\n"
        "    def reduce_gradients(self, gradients, parameters, step):\n"
        "        reduced = super().reduce_gradients(gradients, parameters, step)\n"
        "        return [[self.factor * each for each in own] for own in reduced]\n"
    )
    for name, text in {
        "model/own.yaml": "_target_: mine.net\nunits: 4\n",
        "data/own.yaml": "_target_: mine.points\ncount: 400\n",
        "strategy/own.yaml": "_target_: mine.Mine\nfactor: 2.0\n",
        "optimizer/own.yaml": "_target_: keras.optimizers.Lion\n_partial_: true\nlearning_rate: 0.01\n",
    }.items():
        (tmp_path / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / name).write_text(text)
    words = ["--config-dir", "conf", "model=own", "data=own", "strategy=own", "optimizer=own", "run.name=one"]
    refused = tfscale("train", *words, cwd=tmp_path)
    assert refused.returncode == 2
    assert "trust=[mine]" in refused.stderr
    done = tfscale("train", *words, "trust=[mine]", "train.epochs=10", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "runs" / "one" / "summary.json").read_text())["accuracy"] > 0.9
