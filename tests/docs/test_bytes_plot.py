"""The picture of quality against bytes shows the figures of the page."""

import re
from pathlib import Path

from tfscale.scripts.docs.bytes_plot import IMAGES, STYLES, main, read

PAGE = Path(__file__).parent.parent.parent / "docs" / "strategies.md"
TABLE = IMAGES / "bytes.csv"


def test_the_page_has_each_row_of_the_table() -> None:
    row = r"^\|.*\| ([\d.]+) \| ([\d.]+) \| (?:([\d,]+) times fewer)? ?\|$"
    lines = re.findall(row, PAGE.read_text(), re.MULTILINE)
    page = {(accuracy, loss, times.replace(",", "") or "1") for accuracy, loss, times in lines}
    table = {(row["accuracy"], row["loss"], row["times"]) for row in read(TABLE)}
    assert len(table) == len(read(TABLE)) >= 10
    assert table <= page
    assert {row["method"] for row in read(TABLE)} == {"allreduce", *STYLES}


def test_the_picture_is_drawn_from_the_table(tmp_path: Path) -> None:
    assert main([str(TABLE), str(tmp_path / "picture.svg")]) == 0
    drawn, kept = (path.read_text() for path in (tmp_path / "picture.svg", IMAGES / "bytes.svg"))
    for method in STYLES:
        assert method in drawn and method in kept
    assert drawn.count("<use ") == kept.count("<use ")
