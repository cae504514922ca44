"""The page: valid and self-contained whatever a run is called and holds, and never too large."""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.support.marks import quick
from tests.support.run_folders import (
    HOSTILE,
    ended_run,
    new_run,
    png,
    step_record,
    sweep_of_six,
    write_records,
)
from tfscale.errors import RunError
from tfscale.report import page as page_module
from tfscale.report.page import LIMIT, page
from tfscale.report.read import read_run

VALUES = (None, True, -1, 1e308, 10**400, "x", [], [[]], {}, {"a": None}, math.nan)
"""What a damaged document may have in place of a number or a text."""


class Elements(HTMLParser):
    """What a browser would make of a page: tags with attributes, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        last = self.tags[-1][0] if self.tags else ""
        if last == "script" and self.rawdata:
            self.scripts.append(data)
        self.text += data


def require_harmless(text: str) -> Elements:
    """Checks that nothing on a page runs but its own script, and that nothing is loaded."""
    found = Elements(text)
    scripts = [attributes for tag, attributes in found.tags if tag == "script"]
    assert scripts in ([{"type": "application/json", "id": "data"}, {}], [{}])
    allowed = ("data:image/png;base64,", "data:,", "#")
    for tag, attributes in found.tags:
        assert tag not in ("iframe", "object", "embed", "base", "form", "audio", "video"), tag
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        for name in ("src", "href", "srcset", "action"):
            assert (attributes.get(name) or allowed[0]).startswith(allowed), (tag, attributes)
    return found


def test_the_page_of_a_run_has_everything(tmp_path: Path) -> None:
    path = ended_run(tmp_path, "x", "strategy=sharing", "optimizer.learning_rate=0.5", shares=True, ranks=2)
    evaluation = {"split": "test", "evaluations": {"classification": {"confusion": [[5, 1], [2, 7]]}}}
    (path / "evaluation.json").write_text(json.dumps(evaluation))
    (path / "confusion.png").write_bytes(png())
    (path / "curves.png").write_bytes(png())
    found = require_harmless(page([read_run(path, "x")]))
    sections = [attributes["id"] for tag, attributes in found.tags if tag == "section"]
    assert sections == [
        *("result", "settings", "events", "curves", "time", "evaluation", "plots", "environment"),
    ]
    for said in (
        *("optimizer.learning_rate", "default 0.02", "rank 1 (process 11) was killed by SIGKILL", "3.0 s lost"),
        *("test accuracy", "400 times fewer", "waiting for data", "classification › confusion", "tensorflow"),
    ):
        assert said in found.text, said
    assert sum(tag == "img" for tag, _ in found.tags) == 2


def test_the_page_of_a_sweep_has_everything(tmp_path: Path) -> None:
    sweep = sweep_of_six(tmp_path)
    jobs = [job for job in sorted(sweep.glob("job-*")) if job.is_dir()]
    found = require_harmless(page([read_run(job, job.name) for job in jobs], sweep=sweep))
    assert [attributes["id"] for tag, attributes in found.tags if tag == "section"] == ["runs", "parallel", "curves"]
    assert "the larger, the better): job-004" in found.text
    marked = [attributes for tag, attributes in found.tags if tag == "tr" and attributes.get("class") == "best"]
    assert marked == [{"data-row": "4", "class": "best"}]
    strokes = [attributes for tag, attributes in found.tags if "stroke" in (attributes.get("class") or "").split()]
    assert len(strokes) == 6
    assert "sweep/job-006" in found.text


def test_one_job_of_a_sweep_is_a_sweep(tmp_path: Path) -> None:
    path = ended_run(tmp_path / "sweep", "job-000")
    assert ">sweep</p>" in page([read_run(path, "job-000")], sweep=tmp_path / "sweep")


def test_hostile_text_is_shown_and_does_nothing(tmp_path: Path) -> None:
    path = ended_run(tmp_path, "x", ranks=2)
    config = f"model:\n  _target_: {json.dumps(HOSTILE)}\n  {json.dumps(HOSTILE)}: {json.dumps(HOSTILE)}\n"
    (path / "config.yaml").write_text(config)
    summary = json.loads((path / "summary.json").read_text())
    summary |= {"metrics": [HOSTILE], HOSTILE: 0.5, "ended_early": HOSTILE, f"mean_{HOSTILE}": 0.5}
    (path / "summary.json").write_text(json.dumps(summary))
    (path / "environment.json").write_text(json.dumps({HOSTILE: {HOSTILE: [HOSTILE]}, "command": HOSTILE}))
    (path / "evaluation.json").write_text(json.dumps({"a": {HOSTILE: [[HOSTILE]]}, "b": [{HOSTILE: HOSTILE}]}))
    (path / "figures.json").write_text(json.dumps({"x": {"label": HOSTILE, "panel": HOSTILE, "unit": HOSTILE}}))
    write_records(path, [{"kind": "step", "step": n, "loss": 1.0, "x": 1.0, HOSTILE: 2.0} for n in (101, 102)])
    write_records(path, [{"kind": "validation", "step": n, HOSTILE: 2.0} for n in (101, 102)])
    write_records(path, [{"kind": "remark", "step": 3, "words": HOSTILE}])
    event = {"event": "end", "when": 1.0, "code": 1, "cause": HOSTILE, "step": 1}
    (path / "events.jsonl").write_text(json.dumps(event) + "\n" + json.dumps({"event": HOSTILE}) + "\n")
    (path / "timeline" / "rank-0.jsonl").write_text(
        (path / "timeline" / "rank-0.jsonl").read_text().replace('"encode"', json.dumps(HOSTILE))
    )
    run = read_run(path, HOSTILE)
    for text in (page([run]), page([run, run], sweep=None), page([run] * 3, sweep=tmp_path / "<b>")):
        found = require_harmless(text)
        assert HOSTILE in found.text
        assert "{{" not in text.replace("{{7*7}}", ""), "the template was filled once"
        (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
        assert "<" not in data
        assert json.loads(data)["panels"]


@pytest.mark.parametrize("count", [1, 2])
def test_runs_with_nothing_or_with_damage_have_a_page(tmp_path: Path, count: int) -> None:
    empty = new_run(tmp_path, "empty")
    damaged = ended_run(tmp_path, "damaged")
    for path in [*damaged.glob("*.json*"), damaged / "timeline" / "rank-0.jsonl", damaged / "config.yaml"]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for runs in ([empty], [damaged], [empty, damaged], [empty, empty, empty]):
        text = page([read_run(path, path.name) for path in runs] * count)
        require_harmless(text)
    assert "No step has been recorded yet." in page([read_run(empty, "empty")])
    assert "summary.json cannot be read" in page([read_run(damaged, "damaged")])


@pytest.mark.parametrize("document", ["summary.json", "environment.json", "figures.json", "evaluation.json"])
@pytest.mark.parametrize("value", quick(VALUES, only=(None, "x", 10**400)))
def test_values_of_any_type_have_a_page(tmp_path: Path, document: str, value: object) -> None:
    path = ended_run(tmp_path, "x")
    keys = json.loads((path / "summary.json").read_text()).keys() | {"best_step", "best", "loss", "directions"}
    (path / document).write_text(json.dumps(dict.fromkeys([*keys, "bytes_sent", "density"], value)))
    run = read_run(path, "x")
    require_harmless(page([run]))
    require_harmless(page([run, run, run]))


@pytest.mark.parametrize("name", ["events.jsonl", "metrics.jsonl"])
@pytest.mark.parametrize("value", quick(VALUES, only=(None, "x")))
def test_records_of_any_type_have_a_page(tmp_path: Path, name: str, value: object) -> None:
    path = ended_run(tmp_path, "x")
    lines = [json.loads(line) for line in (path / name).read_text().splitlines()]
    for key in {key for line in lines for key in line}:
        with (path / name).open("a") as stream:
            stream.writelines(f"{json.dumps(line | {key: value})}\n" for line in lines if key in line)
    require_harmless(page([read_run(path, "x")]))


@pytest.mark.slow
def test_a_page_is_never_larger_than_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ended_run(tmp_path, "x", steps=3000, shares=True)
    (path / "roc.png").write_bytes(png() + bytes(900_000))
    whole = page([read_run(path, "x")])
    assert 1_200_000 < len(whole) <= LIMIT
    monkeypatch.setattr(page_module, "LIMIT", 400_000)
    smaller = page([read_run(path, "x")])
    assert len(smaller) <= 400_000
    assert "too large for this page" in smaller and "at most 300 medians" in smaller
    monkeypatch.setattr(page_module, "LIMIT", 50_000)
    with pytest.raises(RunError, match=r"the page of 1 runs would be larger than 50,000 bytes; name fewer runs"):
        page([read_run(path, "x")])


@pytest.mark.slow
def test_a_run_of_a_hundred_thousand_steps_says_that_it_is_downsampled(tmp_path: Path) -> None:
    path = new_run(tmp_path, "x")
    write_records(path, (step_record(number, shares=True, slope=0.001) for number in range(1, 100_001)))
    text = page([read_run(path, "x")])
    assert "Downsampled: long runs are drawn as at most 600 medians" in text
    assert len(text) < 600_000


def test_many_runs_have_the_curves_of_the_best(tmp_path: Path) -> None:
    runs = [read_run(ended_run(tmp_path, f"r{n}", accuracy=n / 50), f"r{n}") for n in range(40)]
    text = page(runs)
    assert "The 24 runs with the best results are drawn." in text
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    labels = [line["label"] for line in json.loads(data)["panels"][0]["lines"]]
    assert labels == [f"r{n}" for n in range(39, 15, -1)]
