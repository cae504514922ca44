"""Tables of an evaluation for a person: single numbers; what is long, by class or by bin, is in evaluation.json."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from tfscale.evaluation.base import UNDEFINED
from tfscale.tracking.tables import results_table


def show(console: Console, document: Mapping[str, Any]) -> None:
    """Prints the metrics, then the figures of each suite."""
    nested = ("evaluations", "slices", "pictures")
    row = {key: value for key, value in document.items() if key not in ("split", "data", *nested)}
    results_table(console, f"{document['split']} examples of {document['data']}", [row])
    rows = [{"suite": suite, "figures": text} for suite, text in _lines(document["evaluations"], "")]
    if rows:
        results_table(console, "evaluations", rows)
    sliced = document.get("slices", {"by": "", "values": {}})
    rows = [
        {sliced["by"]: value, "suite": suite, "figures": text}
        for value, suites in sliced["values"].items()
        for suite, text in _lines(suites, "")
    ]
    if rows:
        results_table(console, f"by {sliced['by']}", rows)
    for picture in document.get("pictures", ()):
        console.print(f"  {picture}", highlight=False, markup=False)


def _lines(nested: Mapping[str, Any], suite: str) -> list[tuple[str, str]]:
    """Returns suite and numbers in a line, for each level that has any; lists are for the file."""
    lines: list[tuple[str, str]] = []
    reasons = nested.get(UNDEFINED, {})
    numbers = [
        f"{name.replace('_', ' ')} {_shown(value, reasons.get(name))}"
        for name, value in nested.items()
        if isinstance(value, int | float) or value is None
    ]
    if numbers and not (suite.split(" ")[-1].startswith(UNDEFINED) and not any(nested.values())):
        lines.append((suite, "  ".join(numbers)))
    for name, value in nested.items():
        if isinstance(value, Mapping) and name != UNDEFINED:
            lines += _lines(value, f"{suite} {name}".strip())
    return lines


def _shown(value: float | None, why: str | None) -> str:
    if value is None:
        return f"undefined ({why})"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
