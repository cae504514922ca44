"""Pictures of a run: drawn where there is something to see, from whatever a run has left."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from tfscale.runs import plots, trends
from tfscale.strategies.gradient_sharing.measurements import measurements

SHARING = measurements(targets=[0.01])
PNG = b"\x89PNG\r\n\x1a\n"


def step(number: int, **more: object) -> dict[str, object]:
    shared = {"bytes_sent": 1000.0 * number, "density": 0.01 / number, "threshold": 0.1, "residual_ratio": 1.5}
    times = {"encode_ms": 0.5, "exchange_ms": 0.0}
    return {"kind": "step", "step": number, "loss": 1 / number, **shared, **times, **more}


def tensor(number: int, name: str, **more: object) -> dict[str, object]:
    measured = {"density": 0.01, "threshold": 0.1, "residual_ratio": 1.0}
    return {"kind": "tensor", "step": number, "name": name, **measured, **more}


def written(folder: Path, *records: object) -> Path:
    path = folder / "metrics.jsonl"
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return path


def test_a_run_that_shared_is_drawn(tmp_path: Path) -> None:
    records = [step(number) for number in range(1, 8)] + [{"kind": "validation", "step": 7, "loss": 0.5}]
    tensors = [tensor(7, f"layer_{index}/kernel", threshold=0.1 * (1 + index)) for index in range(30)]
    drawn = plots.draw(written(tmp_path, *records, *tensors), tmp_path, SHARING)
    assert [path.name for path in drawn] == ["curves.png", "strategy.png", "tensors.png"]
    assert all(path.read_bytes().startswith(PNG) for path in drawn)


def test_pictures_name_the_run_and_its_result() -> None:
    validation = {"kind": "validation", "step": 4, "loss": 0.5, "accuracy": 0.25, "top3": None}
    test = {"kind": "test", "step": 1500, "loss": 0.4, "accuracy": 0.98765}
    assert plots.title("first", {"test": [test], "validation": [validation]}) == (
        "first: test accuracy 0.9877 at step 1,500"
    )
    assert plots.title("first", {"test": [], "validation": [validation]}) == (
        "first: validation accuracy 0.25 at step 4"
    )
    assert plots.title("first", {"test": [{"step": 2, "loss": 0.5}], "validation": []}) == (
        "first: test loss 0.5 at step 2"
    )
    assert plots.title("first", {"test": [], "validation": []}) == "first"


@pytest.mark.parametrize(
    ("targets", "goal"), [((), ""), ((0.01,), "target 0.01"), ((1e-4, 0.01), "target 0.0001 to 0.01")]
)
def test_the_target_of_the_density_is_in_its_panel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, targets: tuple[float, ...], goal: str
) -> None:
    """It was in no picture."""
    saved: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: saved.append(figure))
    plots.draw(written(tmp_path, step(1), step(2)), tmp_path, measurements(targets=targets))
    (panel,) = [axes for axes in saved[1].axes if axes.get_title("left").startswith("density")]
    dashed = [line for line in panel.get_lines() if line.get_linestyle() == "--"]
    assert tuple(line.get_ydata()[0] for line in dashed) == targets
    assert panel.get_legend_handles_labels()[1] == ([goal] if goal else [])


def test_without_measurements_of_tensors_there_are_two_pictures(tmp_path: Path) -> None:
    drawn = plots.draw(written(tmp_path, step(1)), tmp_path, SHARING)
    assert [path.name for path in drawn] == ["curves.png", "strategy.png"]


@pytest.mark.parametrize("evaluations", [0, 1, 5])
def test_a_run_of_any_strategy_is_drawn(tmp_path: Path, evaluations: int) -> None:
    """`local` runs drew nothing: only a strategy with panels had pictures."""
    steps = [{"kind": "step", "step": number, "loss": 1 / number, "seconds": 0.01} for number in range(1, 40)]
    log = {"kind": "train", "step": 39, "loss": 0.1, "learning_rate": 0.1, "samples_per_second": 500.0}
    found = [
        {"kind": "validation", "step": 1 + number, "loss": 0.5, "accuracy": 0.5, "top3": None}
        for number in range(evaluations)
    ]
    test = {"kind": "test", "step": 39, "loss": 0.4, "accuracy": 0.6}
    (drawn,) = plots.draw(written(tmp_path, *steps, log, *found, test), tmp_path, {})
    assert drawn.name == "curves.png"
    assert drawn.read_bytes().startswith(PNG)


def test_nothing_is_drawn_without_a_step_nor_matplotlib_imported(tmp_path: Path) -> None:
    metrics = written(tmp_path, {"kind": "test", "step": 1, "loss": 1.0}, {"kind": "train", "step": 1, "loss": 1.0})
    code = (
        "import sys; from pathlib import Path; from tfscale.runs import plots\n"
        "from tfscale.strategies.gradient_sharing.measurements import measurements\n"
        f"for described in ({{}}, measurements(targets=())):\n"
        f"    assert plots.draw(Path({str(metrics)!r}), Path({str(tmp_path)!r}), described) == []\n"
        "assert 'matplotlib' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize("end", ['{"kind": "step", "st', "[1", "7\n", "\x00\x00\n", "\n"])
def test_lines_that_are_not_whole_are_survived(tmp_path: Path, end: str) -> None:
    metrics = written(tmp_path, step(1), step(2))
    with metrics.open("a") as stream:
        stream.write(end)
    assert [path.read_bytes()[:8] for path in plots.draw(metrics, tmp_path, SHARING)] == [PNG, PNG]


@pytest.mark.parametrize(
    "records",
    [
        [step(1, loss=None, threshold=None)],
        [step(number, density=0.0, threshold=None, residual_ratio=0.0) for number in range(1, 9)],
        [step(10, bytes_sent=-5.0), step(20), tensor(20, "kernel", density=None, threshold=None, residual_ratio=None)],
    ],
    ids=["null", "nothing sent", "resumed"],
)
def test_missing_zero_and_negative_values_are_drawn_without_a_warning(
    tmp_path: Path, records: list[dict[str, object]]
) -> None:
    assert plots.draw(written(tmp_path, *records), tmp_path, SHARING)


def test_a_long_run_is_drawn_as_few_medians(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []
    trend = plots.trend

    def noted(*arguments: object) -> object:
        lengths.append(len(trend(*arguments).steps))
        return trend(*arguments)

    monkeypatch.setattr(plots, "trend", noted)
    plots.draw(written(tmp_path, *(step(number) for number in range(1, 3002))), tmp_path, SHARING)
    assert trends.POINTS / 2 < max(lengths) <= trends.POINTS
