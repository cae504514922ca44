"""The configuration reference: every key of every option, as conf/ and the schemas have it."""

from pathlib import Path

import yaml
from tfscale.scripts.docs.configuration import page

from tfscale.config.schemas.common import COMMON_GROUPS

ROOT = Path(__file__).parent.parent.parent
LINES = page().splitlines()


def test_every_option_has_a_heading_and_every_key_a_row() -> None:
    files = [path for path in (ROOT / "conf").rglob("*.yaml") if path.name != "config.yaml"]
    assert len(files) > 25
    rows = {line.split("`")[1] for line in LINES if line.startswith("| `")}
    for path in files:
        group = "/".join(path.relative_to(ROOT / "conf").parent.parts)
        assert f"### `{group}={path.stem}`" in LINES
        keys = [key for key in yaml.safe_load(path.read_text()) if key != "defaults" and not key.startswith("_")]
        suffix = "._target_" if group in ("metrics", "tracker") else ""
        node = COMMON_GROUPS.get(group, group.replace("/", "."))
        assert {f"{node}.{key}{suffix}" for key in keys} <= rows


def test_every_row_says_what_a_value_may_be() -> None:
    rows = [line for line in LINES if line.startswith("| `")]
    assert len(rows) > 100
    assert not [line for line in rows if line.split(" | ")[2].strip() == ""]


def test_rows_have_default_rule_and_comment() -> None:
    assert "| `train.log_every` | `50` | a whole number of steps from 1 to 1e9 | steps |" in LINES
    assert "| `tracker.mlflow.experiment` | `tfscale` | text | name; created unless it exists |" in LINES
    assert "| `strategy/codec` | `smallest` | an option of [`strategy/codec`](#strategycodec) |  |" in LINES
    assert (
        "| `[optimizer.clipvalue]` | `null` | a number > 0, or null | add it: `+optimizer.clipvalue=VALUE` |" in LINES
    )
