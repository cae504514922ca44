"""`tfscale runs --watch`: the list of runs, again and again, until Ctrl-C.

On a terminal one table is redrawn; elsewhere a line is printed when the state of a run changes, and now and then for
its progress.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from tfscale.tracking.tables import print_line, table_lines

INTERVAL = 1.0
"""Seconds between two looks at the runs."""

LINE_EVERY = 10
"""Looks between two lines about a run that only progresses, where there is no terminal."""

Row = Mapping[str, Any]


def watch(read: Callable[[], Sequence[Row]], console: Console, *, pause: Callable[[float], None] = time.sleep) -> None:
    """Shows the rows until Ctrl-C.

    Args:
        read: Returns a row for each run; all have `run`.
        console: Where to show them.
        pause: Waits so many seconds.
    """
    try:
        if console.is_terminal and not console.is_dumb_terminal:
            with Live(console=console, auto_refresh=False) as live:
                while True:
                    live.update(_table(read(), console.height), refresh=True)
                    pause(INTERVAL)
        _print_changes(read, console, pause)
    except KeyboardInterrupt:
        return


def _table(rows: Sequence[Row], height: int) -> Text:
    """The table, with as many runs as the terminal has lines for; the last ones if it has too few."""
    lines = table_lines([{name: shown(name, value) for name, value in row.items()} for row in rows])
    room = max(1, height - 4)
    left_out = max(0, len(rows) - room)
    if left_out:
        lines = [*lines[:2], f"... {left_out} more", *lines[2 + left_out :]]
    return Text("\n".join(lines or ["no run matches"]), overflow="fold")


def _print_changes(read: Callable[[], Sequence[Row]], console: Console, pause: Callable[[float], None]) -> None:
    told: dict[str, tuple[object, object, int]] = {}
    look = 0
    while True:
        for row in read():
            name, state, values = str(row["run"]), row.get("state"), [shown(key, row[key]) for key in row]
            before = told.get(name)
            progressed = before is not None and before[1] != values and look - before[2] >= LINE_EVERY
            if before is None or before[0] != state or progressed:
                told[name] = (state, values, look)
                parts = (f"{key} {value}" for key, value in zip(row, values, strict=True) if value)
                print_line(console, "  ".join(parts))
        pause(INTERVAL)
        look += 1


def shown(name: str, value: object) -> object:
    """A value as a person reads it: seconds left as h:mm:ss."""
    if name == "seconds_left" and isinstance(value, int | float):
        return str(timedelta(seconds=round(value)))
    return value
