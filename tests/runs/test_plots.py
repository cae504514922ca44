"""Pictures of a run: drawn where there is something to see, from whatever a run has left."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tfscale.runs import plots
from tfscale.strategies.gradient_sharing.measurements import measurements

SHARING = measurements(goal="target 0.01")
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
    assert [path.name for path in drawn] == ["strategy.png", "tensors.png"]
    assert all(path.read_bytes().startswith(PNG) for path in drawn)


def test_without_measurements_of_tensors_there_is_one_picture(tmp_path: Path) -> None:
    assert [path.name for path in plots.draw(written(tmp_path, step(1)), tmp_path, SHARING)] == ["strategy.png"]


def test_nothing_is_drawn_without_a_density_nor_matplotlib_imported(tmp_path: Path) -> None:
    metrics = written(tmp_path, {"kind": "step", "step": 1, "loss": 1.0}, {"kind": "train", "step": 1, "loss": 1.0})
    code = (
        "import sys; from pathlib import Path; from tfscale.runs import plots\n"
        "from tfscale.strategies.gradient_sharing.measurements import measurements\n"
        f"for described in ({{}}, measurements(goal='')):\n"
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
    (drawn,) = plots.draw(metrics, tmp_path, SHARING)
    assert drawn.read_bytes().startswith(PNG)


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
    trend = plots._trend

    def noted(*arguments: object) -> object:
        lengths.append(len(trend(*arguments).steps))
        return trend(*arguments)

    monkeypatch.setattr(plots, "_trend", noted)
    plots.draw(written(tmp_path, *(step(number) for number in range(1, 3002))), tmp_path, SHARING)
    assert plots.POINTS / 2 < max(lengths) <= plots.POINTS
