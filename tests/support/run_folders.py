"""Run directories as runs leave them, written without training: whole, early, failed, damaged and hostile."""

import json
import math
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tfscale.config import preflight, saved
from tfscale.runs.events import EventLog
from tfscale.strategies.gradient_sharing.measurements import measurements

DAY = 1_790_000_000.0
HOSTILE = "<script>alert(1)</script>\"'&<img src=http://127.0.0.1/x onerror=alert(2)>`${7*7}{{7*7}}\u202eÄ漢字😀"
"""Text that a page must show and never obey."""


def png(size: int = 4) -> bytes:
    """A small picture, made by hand."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + bytes((90, 140, 200)) * size for _ in range(size))
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def new_run(folder: Path, name: str, *words: str) -> Path:
    """A run that has been started and has done nothing yet; `words` are its settings."""
    path = folder / name
    (path / "logs").mkdir(parents=True)
    config = preflight.check_job(preflight.preflight(words, config_dir=None), processes=1)
    saved.write(preflight.with_replicas(config, 2), path)
    return path


def write_records(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Appends records to metrics.jsonl."""
    with (path / "metrics.jsonl").open("a") as stream:
        stream.writelines(f"{json.dumps(record)}\n" for record in records)


def step_record(number: int, *, slope: float = 1.0, shares: bool = False) -> dict[str, Any]:
    """A record of a step; with the figures of gradient sharing if `shares`."""
    record = {"kind": "step", "step": number, "loss": math.exp(-slope * number / 50), "seconds": 0.004}
    record |= {"data_seconds": 0.001, "bytes_sent": 1000.0 * number, "skipped_steps": 0.0}
    times = {"encode_ms": 0.2, "exchange_ms": 0.7, "decode_ms": 0.1}
    more = {"density": 0.1 / number, "threshold": 0.01 * number, "residual_ratio": 1.5, **times}
    return record | (more if shares else {})


def ended_run(
    folder: Path,
    name: str,
    *words: str,
    steps: int = 100,
    accuracy: float = 0.9,
    shares: bool = False,
    ranks: int = 1,
    slope: float = 1.0,
) -> Path:
    """A run that has ended well, with every file that a run leaves."""
    path = new_run(folder, name, *words)
    write_records(path, (step_record(number, slope=slope, shares=shares) for number in range(1, steps + 1)))
    for number in range(20, steps + 1, 20):
        log = {"epoch": 1.0, "loss": 0.5, "learning_rate": 0.1 / number, "samples_per_second": 900.0 + number}
        write_records(path, [{"kind": "train", "step": number, **log}])
        write_records(
            path, [{"kind": "validation", "step": number, "loss": 0.5, "accuracy": accuracy * number / steps}]
        )
    write_records(path, [{"kind": "test", "step": steps, "loss": 0.3, "accuracy": accuracy}])
    summary = {"name": name, "metrics": ["accuracy"], "loss": 0.3, "accuracy": accuracy, "steps": steps, "epochs": 2.0}
    summary |= {"examples": 32 * steps, "samples_per_second": 912.5, "training_seconds": 3.5, "processes": ranks}
    summary |= {"bytes_sent": 1000 * steps, "bytes_dense": 400_000 * steps, "global_batch": 32, "replicas": 2}
    summary |= {"mean_seconds": 0.004, "directions": {"loss": "min", "accuracy": "max"}}
    (path / "summary.json").write_text(json.dumps(summary))
    (path / "environment.json").write_text(json.dumps({"tensorflow": "2.21.0", "devices": ["/device:CPU:0"]}))
    if shares:
        described = {figure: vars(each) for figure, each in measurements(targets=[0.0005]).items()}
        (path / "figures.json").write_text(json.dumps(described))
    write_events(path, steps)
    for rank in range(ranks):
        write_timeline(path, rank, steps)
    return path


def write_events(path: Path, steps: int, *, killed: bool = True) -> None:
    """Events of a run whose rank 1 was killed once."""
    log = EventLog(path / "events.jsonl")
    log.note("start", when=DAY, processes=[10, 11], restarts=0, checkpoint=None)
    if killed:
        cause = "rank 1 (process 11) was killed by SIGKILL"
        log.note("end", when=DAY + 4, code=-9, cause=cause, step=steps // 2)
        log.note("start", when=DAY + 5, processes=[12, 13], restarts=1, checkpoint="step-000000040")
        log.note("training", when=DAY + 7, step=41, seconds_lost=3.0)
    log.note("end", when=DAY + 12, code=0, cause=None, step=steps)


def write_timeline(path: Path, rank: int, steps: int) -> None:
    """A timeline of two starts, with a gap between them."""
    (path / "timeline").mkdir(exist_ok=True)
    lines: list[dict[str, Any]] = []
    for start, when in ((0, DAY), (40, DAY + 6)):
        lines.append({"began": when, "start": start, "labels": {"encode_ms": "encode"}})
        lines.append({"at": 0.0, "length": 1.0, "steps": [start, start], "phases": {"starting": 1.0}, "within": {}})
        phases = {"waiting for data": 0.2 + 0.1 * rank, "a step": 0.7 - 0.1 * rank, "saving": 0.1}
        for second in range(1, 4):
            steps_here = [start + 20 * (second - 1), start + 20 * second]
            within = {"encode_ms": 0.1}
            lines.append({"at": second, "length": 1.0, "steps": steps_here, "phases": phases, "within": within})
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (path / "timeline" / f"rank-{rank}.jsonl").write_text(text)


def sweep_of_six(folder: Path, name: str = "sweep") -> Path:
    """A sweep over two keys with six jobs that have ended, and one that failed before it had a folder."""
    rows = ["job,optimizer.learning_rate,train.batch,status,accuracy"]
    settings = [(rate, batch) for rate in (0.003, 0.01, 0.1) for batch in (16, 32)]
    for number, (rate, batch) in enumerate(settings):
        words = (f"optimizer.learning_rate={rate}", f"train.batch={batch}")
        accuracy = 0.7 + 0.05 * number - (0.2 if number == 5 else 0)
        ended_run(folder / name, f"job-{number:03d}", *words, accuracy=accuracy, slope=1 + number)
        rows.append(f"job-{number:03d},{rate},{batch},done,{accuracy}")
    rows.append("job-006,0.5,64,failed (2),")
    (folder / name / "summary.csv").write_text("\n".join(rows) + "\n")
    return folder / name
