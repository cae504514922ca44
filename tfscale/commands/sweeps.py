"""Sweeps, `tfscale train -m`: checks all jobs before the first starts, and reports each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfscale.commands import prepare
from tfscale.config import follow_up, preflight
from tfscale.config.overrides import parse
from tfscale.errors import UserError
from tfscale.search import sweep
from tfscale.search.grid import Combination, expand
from tfscale.supervision.signals import Stopped
from tfscale.terminal import logger, survive_write_errors

if TYPE_CHECKING:
    from rich.console import Console


def run(overrides: Sequence[str], config_dir: str | None, typed: Sequence[str]) -> int:
    """Checks every job of the sweep, then runs them one after the other."""
    from tfscale.tracking.tables import person_console, print_line

    jobs = expand(parse(overrides))
    problems = []
    configs = []
    for job in jobs:
        try:
            config = prepare.config_of(job.overrides, config_dir).config
            configs.append(preflight.check_job(config, processes=prepare.processes_of(config)))
        except UserError as error:
            what = " ".join(f"{key}={value}" for key, value in job.varied.items())
            problems += [f"job {job.number} ({what}): {problem}" for problem in error.problems]
    if problems:
        raise UserError(*dict.fromkeys(problems))
    folder = prepare.new_directory(configs[0], "sweep").path
    survive_write_errors("stdout")
    console = person_console()
    print_line(console, f"{len(jobs)} jobs in {folder}")

    def tell(job: Combination, row: Mapping[str, Any]) -> None:
        what = " ".join(f"{key}={value}" for key, value in job.varied.items())
        done = row["status"] == "done"
        more = f" ({row['seconds']:.1f} s of training)" if done else f"; {sweep.last_line(folder, job)}"
        print_line(
            console, f"{job.number + 1}/{len(jobs)}  {what}  {row['status']} in {row['wall_seconds']:.1f} s{more}"
        )

    flags = [] if config_dir is None else ["--config-dir", config_dir]
    try:
        rows = sweep.run_all(jobs, folder, flags, typed, tell)
    except Stopped as stopped:
        logger.info(f"stopped by {stopped.name}; finished jobs are in {folder / sweep.TABLE}")
        return stopped.exit_code
    _show(console, folder, rows, jobs, configs[0].trust)
    return 0 if all(row["status"] == "done" for row in rows) else 1


def _show(
    console: "Console",
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    jobs: Sequence[Combination],
    trust: Sequence[str],
) -> None:
    """Prints the table of a sweep, and its best job with the command to go on with."""
    from tfscale.tracking.tables import print_line, results_table

    left_out = {*sweep.RESULTS} - {*sweep.SHOWN}
    results_table(
        console,
        f"sweep {folder.name}",
        [{name: value for name, value in row.items() if name not in left_out} for row in rows],
    )
    best = sweep.best(rows, folder)
    if best is not None:
        row, metric = best
        varied = next(job.varied for job in jobs if job.name == row["job"])
        what = " ".join(f"{key}={value}" for key, value in varied.items())
        print_line(console, f"best: {row['job']} ({metric} {row[metric]:.4f}) {what}".rstrip())
        print_line(console, f"  {follow_up.command('evaluate', folder / row['job'], trust, by_key=True)}")
    print_line(console, f"  {follow_up.command('report', folder, [])}")
    print_line(console, f"  {folder / sweep.TABLE}")
