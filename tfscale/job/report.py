"""The first lines and the closing table of a run, and the documents and plots that it leaves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from tfscale.config import follow_up
from tfscale.config.find_run import FILE
from tfscale.config.schemas.config import Config
from tfscale.data.base import Split
from tfscale.job.build import Job
from tfscale.runs import plots, summary
from tfscale.runs.run_directory import RunDirectory
from tfscale.strategies.base import SKIPPED_STEPS
from tfscale.tracking.base import Measurements, Tracker
from tfscale.tracking.tables import closing_table, print_line
from tfscale.training.metrics import PREFIXES
from tfscale.userinfo import without_userinfo
from tfscale.world import World


def introduce(
    console: Console, config: Config, job: Job, world: World, directory: RunDirectory, *, notes: Sequence[str]
) -> None:
    """Prints what is about to be trained, by whom and where, `notes`, and warnings about data and model."""
    replicas, batch = job.collective.size, config.train.batch
    model = config.model["_target_"].rsplit(".", 1)[-1]
    lines = [
        f"{model}: {job.layout.size:,} trainable parameters{_frozen(job)}; {_examples(job)}; task {job.task.name}",
        f"{type(job.state.strategy).__name__}: {replicas} replicas in {world.size} process(es), batch {batch} each, "
        f"global batch {batch * replicas}; {job.plan.steps:,} steps",
    ]
    if world.size > 1:
        lines.append(f"steps exchange {job.collective.transport}")
    lines += [*notes, *job.notes, *job.state.strategy.describe().notes]
    if job.state.step:
        lines.append(f"going on after step {job.state.step:,}")
    lines += [f"warning: {warning}" for warning in job.warnings]
    for line in [*lines, f"run: {directory.path}"]:
        print_line(console, line)


def _frozen(job: Job) -> str:
    count = job.state.replicas[0].frozen_size
    return f", {count:,} frozen" if count else ""


def _examples(job: Job) -> str:
    """The number of examples of each split."""
    parts = [f"{job.data.sizes[split]:,} {split.value}" for split in Split if split in job.data.sizes]
    return f"{' and '.join(filter(None, (', '.join(parts[:-1]), parts[-1])))} examples"


def describe_figures(job: Job, directory: RunDirectory) -> None:
    """Writes figures.json: what the strategy's figures mean, for pages that are made after the run."""
    described = job.state.strategy.describe().measurements
    summary.write({name: vars(each) for name, each in described.items()}, directory.figures)


def close(
    config: Config,
    job: Job,
    world: World,
    directory: RunDirectory,
    console: Console,
    tracker: Tracker,
    results: Mapping[str, Any],
    model: Path | None,
) -> None:
    """Writes summary.json, draws the plots, hands both to the trackers and prints the closing table."""
    skipped = {name: int(value) for name, value in job.state.strategy.measurements().items() if name == SKIPPED_STEPS}
    document = {
        "name": directory.path.name,
        **results,
        "directions": _directions(job, results),
        **skipped,
        "skipped_examples": job.skipped_examples,
        "replicas": job.collective.size,
        "processes": world.size,
        "batch": config.train.batch,
        "global_batch": config.train.batch * job.collective.size,
        "trainable_parameters": job.layout.size,
        "directory": str(directory.path),
    }
    summary.write(document, directory.summary)
    if 2 * document.get("skipped_steps", 0) > document["steps"]:
        console.print(
            "warning: most steps were skipped, their gradients were not finite; lower optimizer.learning_rate"
        )
    tracker.summary(document)
    measurements = job.state.strategy.describe().measurements
    pictures = draw(directory, console, measurements)
    documents = [each for each in directory.documents() if each.name != FILE or not _has_userinfo(each)]
    for made in (*documents, *pictures):
        tracker.artifact(made)
    tracker.finish()  # takes the progress bar away
    closing_table(console, document, _next_lines(directory.path, config.trust, model), measurements)


def _directions(job: Job, results: Mapping[str, Any]) -> dict[str, str | None]:
    """Loss and metrics of summary.json -> `min` or `max`, the better direction; None if a metric names none."""
    return {
        f"{prefix}{name}": direction
        for prefix in PREFIXES.values()
        for name, direction in job.evaluator.directions.items()
        if f"{prefix}{name}" in results
    }


def _next_lines(run: Path, trust: Sequence[str], model: Path | None) -> list[str]:
    """The command lines to go on with after the run, each for a shell, and the way to use its model."""
    lines = [follow_up.command("evaluate", run, trust, by_key=True), follow_up.command("report", run, ())]
    name = run.name if run.parent in (Path("runs"), Path("runs").absolute()) else str(run)
    trusted = f", trust={list(trust)}" if trust else ""
    lines.append(f"in Python: tfscale.load({name!r}{trusted}).predict(x)")
    if model is not None:
        lines.append(f"model: {model}")
    return lines


def draw(directory: RunDirectory, console: Console, measurements: Measurements) -> list[Path]:
    """Draws the plots of a run that has ended and returns their files; a failure is a warning."""
    try:
        return plots.draw(directory.metrics, directory.path, measurements)
    except Exception as error:  # noqa: BLE001 - the run has ended well, whatever becomes of its pictures
        reason = " ".join(str(error).split())
        console.print(
            f"warning: the run could not be drawn: {type(error).__name__}: {reason}", highlight=False, markup=False
        )
        return []


def _has_userinfo(path: Path) -> bool:
    """Returns whether a file has an address with a password, and so stays in the run directory."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return without_userinfo(text) != text
