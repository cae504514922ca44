"""tfscale runs: what it says of runs in every state."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tfscale import cli
from tfscale.commands import run_watch
from tfscale.runs.events import EventLog, read_events
from tfscale.runs.run_directory import RunDirectory, create
from tfscale.supervision.heartbeat import Heartbeat
from tfscale.supervision.phase import Phase


def run(folder: Path, name: str) -> RunDirectory:
    """The folder of a run that has been started."""
    directory = create(folder, name, "x")
    (directory.path / "config.yaml").write_text("seed: 1")
    return directory


def test_events_come_back_and_half_a_line_is_left_out(tmp_path: Path) -> None:
    record = EventLog(tmp_path / "m.jsonl")
    record.note("start", processes=[7, 8], restarts=0)
    record.note("end", code=1)
    with (tmp_path / "m.jsonl").open("a") as stream:
        stream.write('[3]\n{"event": "sta')
    assert [event["event"] for event in read_events(tmp_path / "m.jsonl")] == ["start", "end"]
    assert read_events(tmp_path / "none") == []


def test_every_state_has_its_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "runs"
    done, failed, stopped, early, training = (
        run(folder, name) for name in ("done", "failed", "stopped", "early", "training")
    )
    done.summary.write_text(json.dumps({"metrics": ["accuracy"], "accuracy": 0.9, "steps": 77, "processes": 2}))
    record = EventLog(done.events)
    record.note("start", processes=[1, 2], restarts=0)
    record.note("end", code=1, cause="rank 1 (process 2) was killed by SIGKILL. Its log: x")
    record.note("start", processes=[3, 4], restarts=1)
    record.note("training", step=50, seconds_lost=2.25)
    record.note("end", code=0, cause=None)
    EventLog(failed.events).note("end", code=1, cause="rank 0 failed: no. Its log: x")
    EventLog(stopped.events).note("end", code=143, cause="stopped by SIGTERM; go on with x")
    Heartbeat(early.heartbeat(0), timeout=1.0)(Phase.STEP, 12)
    Heartbeat(early.heartbeat(1), timeout=1.0)(Phase.STEP, 11)
    with training.locked():
        assert cli.main(["runs", f"run.dir={folder}"]) == 0
    title, _, _, *shown = capsys.readouterr().out.splitlines()
    assert title == f"runs in {folder}"
    rows = {line.split()[0]: re.split(r"  +", line)[1:] for line in shown[:5]}
    assert rows["done"] == ["done", "77", "accuracy 0.9", "2", "1", "2.2"]
    assert rows["failed"] == ["failed", "0", "0"]
    assert rows["stopped"] == ["stopped", "0", "0"]
    assert rows["early"][:2] == ["ended early", "11"]
    assert rows["training"][0] == "training"
    assert shown[5:] == [
        "last failures:",
        "  done: rank 1 (process 2) was killed by SIGKILL",
        "  failed: rank 0 failed: no",
        "  stopped: stopped by SIGTERM",
    ]


CONFIG = """seed: 1
trust:
- mine
model:
  hidden:
  - 64
  - 32
optimizer:
  _target_: keras.optimizers.SGD
  learning_rate: {rate}
strategy:
  collective:
    _target_: auto
train:
  steps: null
"""


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Three runs in a folder: a and b have ended, c has not."""
    folder = tmp_path / "runs"
    for name, rate, accuracy in (("a", 0.1, 0.9), ("b", 1e-3, 0.95), ("c", 0.5, None)):
        directory = create(folder, name, "x")
        (directory.path / "config.yaml").write_text(CONFIG.format(rate=rate))
        chosen = {"optimizer": "sgd" if name == "a" else "adam", "loss": "auto"}
        directory.environment.write_text(json.dumps({"choices": chosen, "steps": 80}))
        if accuracy is not None:
            results = {"metrics": ["accuracy"], "accuracy": accuracy, "loss": 1 - accuracy, "steps": 77}
            directions = {"directions": {"accuracy": "max", "loss": "min"}}
            directory.summary.write_text(json.dumps({"name": name, **results, **directions}))
    return folder


def listed(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """Names of the runs that a command lists, in its order."""
    assert cli.main(["runs", f"run.dir={folder}", "--json", *words]) == 0
    return [row["run"] for row in json.loads(capsys.readouterr().out)]


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        (["optimizer.learning_rate>0.01"], "ac"),
        (["optimizer.learning_rate>=0.1", "accuracy>0"], "a"),
        (["optimizer.learning_rate = 1e-3"], "b"),
        (["optimizer.learning_rate<.5"], "ab"),
        (["optimizer=adam"], "bc"),
        (["optimizer!=adam"], "a"),
        (["accuracy=null"], "c"),
        (["accuracy!=0.9"], "bc"),
        (["accuracy<1"], "ab"),
        (["state=done"], "ab"),
        (["state=='ended early'"], "c"),
        (["model.hidden=[64,32]"], "abc"),
        (["model.hidden=[64]"], ""),
        (["trust=[mine]"], "abc"),
        (["strategy.collective._target_=auto"], "abc"),
        (["seed=true"], ""),
        (["run<=3"], ""),
    ],
)
def test_conditions_on_the_configuration_the_results_and_the_state(
    three: Path, conditions: list[str], names: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert listed(three, capsys, *(word for each in conditions for word in ("--where", each))) == list(names)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["accuracy"], "bac"),
        (["accuracy", "--reverse"], "abc"),
        (["loss"], "bac"),
        (["optimizer.learning_rate"], "bac"),
        (["optimizer.learning_rate", "--reverse"], "cab"),
        (["state"], "abc"),
    ],
)
def test_a_metric_is_sorted_best_first_and_what_has_no_value_comes_last(
    three: Path, words: list[str], names: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert listed(three, capsys, "--sort", *words) == list(names)


def test_columns_are_keys_as_they_are_typed(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["runs", f"run.dir={three}", "--columns", "optimizer, optimizer.learning_rate,accuracy,steps"]
    assert cli.main(words) == 0
    _, head, _, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "optimizer", "optimizer.learning_rate", "accuracy", "steps"]
    assert [row.split() for row in rows] == [
        ["a", "sgd", "0.1", "0.9", "77"],
        ["b", "adam", "0.001", "0.95", "77"],
        ["c", "adam", "0.5", "80"],
    ]
    assert cli.main([*words, "--json"]) == 0
    keys = ["run", "optimizer", "optimizer.learning_rate", "accuracy", "steps"]
    assert [list(row) for row in json.loads(capsys.readouterr().out)] == [keys] * 3


def test_json_has_every_key_of_a_run_in_one_flat_object(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["runs", f"run.dir={three}", "--json"]) == 0
    first, _, last = json.loads(capsys.readouterr().out)
    assert first["path"] == str(three / "a")
    wanted = {"state": "done", "steps": 77, "loss": pytest.approx(0.1), "optimizer": "sgd", "train.steps": None}
    assert {key: first[key] for key in wanted} == wanted
    assert (first["model.hidden"], first["directions.accuracy"], first["trust"]) == ([64, 32], "max", ["mine"])
    assert not [value for value in first.values() if isinstance(value, dict)]
    assert (last["state"], last["steps"], last["result"]) == ("ended early", 80, None)
    assert "loss" not in last, "the option of the group loss is not a loss"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--where", "learning_rate>0.1"],
            "learning_rate is not a key of any run; did you mean optimizer.learning_rate?",
        ),
        (["--sort", "acuracy"], "acuracy is not a key of any run; did you mean accuracy?"),
        (["--columns", "run,zzzzzz"], "zzzzzz is not a key of any run; type: tfscale runs --json to see all keys"),
        (["--where", "accuracy"], "--where must be KEY=VALUE, or with != < <= > >=, got accuracy; quote it"),
        (["--where", "state>done"], "--where state> must have a number, got done; for text use = or !="),
        (["--where", "accuracy>"], "--where accuracy> must have a number, got nothing"),
        (["--columns", "a,,b"], "--columns must be keys separated by commas, got a,,b"),
        (["--json", "--watch"], "--json and --watch exclude each other"),
        (["--reverse"], "--reverse must come with --sort KEY"),
    ],
)
def test_a_wrong_question_is_one_message(
    three: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["runs", f"run.dir={three}", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_no_run_that_matches_is_no_mistake(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["runs", f"run.dir={three}", "--where", "accuracy>2"]) == 0
    assert capsys.readouterr().out == f"no run in {three} matches\n"
    assert listed(three, capsys, "--where", "accuracy>2") == []


def test_files_of_somebody_else_do_no_harm(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bomb = "a: &a [x, x]\n" + "\n".join(f"b{i}: &b{i} [*a, *a]" for i in range(9))
    for name, text in (("a", bomb), ("b", "model: [1, {\n"), ("c", "\x00\xff")):
        (three / name / "config.yaml").write_bytes(text.encode("latin-1"))
        (three / name / "environment.json").write_text("[" * 5000)
    assert listed(three, capsys, "--sort", "accuracy") == ["b", "a", "c"]


def test_listing_needs_neither_hydra_nor_tensorflow(three: Path) -> None:
    code = (
        "import sys; from tfscale.cli import main\n"
        f"assert main(['runs', 'run.dir={three}', '--where', 'optimizer.learning_rate>0.01', '--json']) == 0\n"
        "assert not {'tensorflow', 'hydra', 'pydantic', 'numpy', 'omegaconf'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def training(folder: Path, step: int) -> RunDirectory:
    """A run at a step of 80, of 0.5 s each."""
    directory = RunDirectory(folder / "c")
    Heartbeat(directory.heartbeat(0), timeout=1.0)(Phase.STEP, step)
    records = [{"kind": "step", "step": each, "seconds": 0.5} for each in range(step)]
    records.append({"kind": "train", "step": step, "samples_per_second": 1234.5})
    directory.metrics.write_text("".join(json.dumps(each) + "\n" for each in records))
    return directory


def test_a_run_in_training_has_a_speed_and_the_time_that_is_left(
    three: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with training(three, 20).locked():
        assert cli.main(["runs", f"run.dir={three}", "--json", "--where", "state=training"]) == 0
        (row,) = json.loads(capsys.readouterr().out)
        assert cli.main(["runs", f"run.dir={three}"]) == 0
        assert re.search(r"^c +training +20/80", capsys.readouterr().out, re.MULTILINE)
    wanted = {"run": "c", "step": 20, "steps": 80, "samples_per_second": 1234.5, "seconds_left": 30.0}
    assert {key: row[key] for key in wanted} == wanted


def watched(three: Path, monkeypatch: pytest.MonkeyPatch, looks: int) -> None:
    """Watches the runs for some looks; the run in training goes on between them."""
    left = iter(range(looks - 1))

    def pause(seconds: float) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        training(three, 21)

    assert run_watch.watch.__kwdefaults__ is not None
    monkeypatch.setitem(run_watch.watch.__kwdefaults__, "pause", pause)
    with training(three, 20).locked():
        assert cli.main(["runs", f"run.dir={three}", "--watch"]) == 0


def test_watching_prints_lines_where_there_is_no_terminal(
    three: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    watched(three, monkeypatch, run_watch.LINE_EVERY + 2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("run a  state done  step 77  result accuracy 0.9")
    (first, second) = (line for line in lines if line.startswith("run c"))
    assert first == "run c  state training  step 20/80  samples_per_second 1234.5  seconds_left 0:00:30"
    assert "step 21/80" in second
    assert len(lines) == 4, "nothing is told twice"


def test_watching_redraws_one_table_on_a_terminal(
    three: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = Console(file=io.StringIO(), width=120, height=30, force_terminal=True)
    monkeypatch.setattr("tfscale.tracking.tables.person_console", lambda: out)
    watched(three, monkeypatch, 3)
    assert isinstance(out.file, io.StringIO)
    text = out.file.getvalue()
    assert text.count("seconds_left") == 4, "three looks, and what stays on the screen"
    assert "20/80" in text and "21/80" in text


def test_a_table_that_is_watched_has_room_on_the_terminal() -> None:
    rows = [{"run": f"r{index}", "state": "done"} for index in range(50)]
    lines = run_watch._table(rows, 20).plain.splitlines()
    assert len(lines) < 20
    assert "... 34 more" in lines
    assert lines[-1].startswith("r49")
