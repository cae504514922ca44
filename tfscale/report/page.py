"""The page: what the template gets, the template's environment, and the limit of its size.

Names, settings and messages of a run are untrusted text. Jinja escapes all of them; the page's policy lets nothing run
but the one script whose hash it names, and lets nothing be loaded, so that a page that is opened sends no request.
Curves are drawn by uPlot (MIT licence), which is part of the page.
"""

import base64
import hashlib
import time
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tfscale.errors import RunError
from tfscale.report import results
from tfscale.report.compare import comparison
from tfscale.report.curves import clock_of, is_shortened, panels_of_run, panels_of_runs
from tfscale.report.one import view
from tfscale.report.pictures import pictures_of
from tfscale.report.read import Run

LIMIT = 3_000_000
"""Bytes of a page, at most."""

BUDGETS = ((600, 1_500_000), (300, 800_000), (120, 300_000), (60, 0))
"""(points of a line, bytes of pictures), tried in turn until the page is small enough."""

MOST_POINTS = 6_000
"""Points of all lines of one figure, at most."""

MOST_CURVES = 24
"""Runs whose curves a comparison draws: those with the best results."""


def page(runs: Sequence[Run], *, sweep: Path | None = None) -> str:
    """Returns the page of one run, or of several.

    Args:
        runs: At least one.
        sweep: Folder of the sweep whose jobs they are; None for others.

    Raises:
        RunError: The page would be larger than LIMIT.
    """
    template = _environment().get_template("page.html")
    fixed = {"assets": _assets(), "made": time.strftime("%Y-%m-%d %H:%M"), **_static(runs, sweep)}
    for points, budget in BUDGETS:
        text = template.render(**fixed, **_curves(runs, fixed, points), **_pictures(runs, budget))
        if len(text.encode(errors="replace")) <= LIMIT:
            return text.encode(errors="replace").decode()
    raise RunError(f"the page of {len(runs):,} runs would be larger than {LIMIT:,} bytes; name fewer runs")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tfscale.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"short": results.short, "duration": results.duration}
    return environment


def _assets() -> Mapping[str, Markup]:
    """Returns styles and script as they are in the package, and the hash that the page's policy names."""
    folder = files("tfscale.report") / "assets"
    read = {
        name: (folder / name).read_text(encoding="utf-8") for name in ("uplot.js", "page.js", "uplot.css", "page.css")
    }
    script = f"\n{read['uplot.js']}\n{read['page.js']}\n"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Our own files: not escaped.
    return {"script": Markup(script), "style": Markup(read["uplot.css"] + read["page.css"]), "hash": Markup(digest)}


def _static(runs: Sequence[Run], sweep: Path | None) -> dict[str, Any]:
    if len(runs) == 1 and sweep is None:
        return {"one": view(runs[0]), "several": None, "title": runs[0].name}
    found = comparison(runs, sweep=sweep)
    return {"one": None, "several": found, "title": found.title}


def _curves(runs: Sequence[Run], fixed: Mapping[str, Any], points: int) -> dict[str, Any]:
    if fixed["several"] is None:
        shown = runs[:1]
        panels = panels_of_run(runs[0], points)
    else:
        shown = [runs[index] for index in fixed["several"].drawn[:MOST_CURVES]]
        points = max(20, min(points, MOST_POINTS // max(1, len(shown))))
        panels = panels_of_runs(shown, points)
    document = {"panels": [panel.document() for panel in panels], "clocks": [clock_of(run) for run in shown]}
    shortened = points if any(is_shortened(run, points) for run in shown) else None
    return {"curves": document, "shortened": shortened, "curves_of": len(shown)}


def _pictures(runs: Sequence[Run], budget: int) -> dict[str, Any]:
    found = pictures_of(runs[0].path, budget) if len(runs) == 1 else ()
    return {
        "pictures": [each for each in found if not each.is_plot],
        "plots": [each for each in found if each.is_plot],
    }
