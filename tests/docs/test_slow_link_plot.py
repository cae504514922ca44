"""The README's picture shows the figures of the recipe."""

import re
from pathlib import Path

from tfscale.scripts.docs.slow_link_plot import IMAGES, NOT_DRAWN, label, main, read

ROOT = Path(__file__).parent.parent.parent
TABLE = IMAGES / "slow-link.csv"


def test_the_table_has_the_recipes_figures() -> None:
    text = (ROOT / "recipes" / "sharing_slow_link.yaml").read_text()
    row = r"^#     (\w+(?: fp\d\d| in rounds)?)\s+(\w+(?: \w+)?)\s{2,}([\d,]+)\s+([\d,]+)\s+(\d+)\s+([\d,]+)( \*)?$"
    figures = re.findall(row, text, re.MULTILINE)
    links = {"unshaped": "no limit", "1 Gbit": "1 Gbit/s", "100 Mbit": "100 Mbit/s", "10 Mbit": "10 Mbit/s"}
    recipe = [
        (links[link], exchange, *(number.replace(",", "") for number in numbers), "yes" if star else "no")
        for exchange, link, *numbers, star in figures
    ]
    assert len(recipe) == 16
    assert recipe == [tuple(row.values()) for row in read(TABLE)]


def test_the_page_on_performance_has_them_too() -> None:
    text = (ROOT / "docs" / "performance.md").read_text().replace("`", "").replace(",", "")
    for row in read(TABLE):
        star = " (a)" if row["extrapolated"] == "yes" else ""
        cells = (*(row[key] for key in ("exchange", "link", "step_ms", "kb_a_step", "steps")), row["seconds"] + star)
        assert f"| {' | '.join(cells)} |" in text


def test_the_picture_is_drawn_from_the_table(tmp_path: Path) -> None:
    assert main([str(TABLE), str(tmp_path / "picture.svg")]) == 0
    drawn, kept = (path.read_text() for path in (tmp_path / "picture.svg", IMAGES / "slow-link.svg"))
    for row in read(TABLE):
        if row["link"] == NOT_DRAWN:
            continue
        words = f"{row['exchange']}:  {label(row)}"
        assert words in drawn and words in kept


def test_long_times_are_in_minutes_and_extrapolated_ones_have_a_star() -> None:
    labels = [label(row) for row in read(TABLE)]
    assert labels[3] == "39 s  (260 steps)"
    assert labels[4] == "201 s*  (240 steps)"
    assert labels[8] == "23 min*  (240 steps)"
