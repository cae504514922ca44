"""Sweeps, `tfscale train -m`: checks all jobs before the first starts, and reports each."""

from collections.abc import Mapping, Sequence
from typing import Any

from tfscale.commands import prepare
from tfscale.config import preflight
from tfscale.config.overrides import parse
from tfscale.errors import UserError
from tfscale.search import sweep
from tfscale.search.grid import Combination, expand
from tfscale.supervision.signals import Stopped
from tfscale.terminal import logger, survive_write_errors


def run(overrides: Sequence[str], config_dir: str | None) -> int:
    """Checks every job of the sweep, then runs them one after the other."""
    from tfscale.tracking.tables import person_console, results_table

    jobs = expand(parse(overrides))
    problems = []
    configs = []
    for job in jobs:
        try:
            config = prepare.config_of(job.overrides, config_dir)
            configs.append(preflight.check_job(config, processes=prepare.processes_of(config)))
        except UserError as error:
            what = " ".join(f"{key}={value}" for key, value in job.varied.items())
            problems += [f"job {job.number} ({what}): {problem}" for problem in error.problems]
    if problems:
        raise UserError(*dict.fromkeys(problems))
    folder = prepare.new_directory(configs[0], "sweep").path
    survive_write_errors("stdout")
    console = person_console()
    console.print(f"{len(jobs)} jobs in {folder}", highlight=False, markup=False)

    def tell(job: Combination, row: Mapping[str, Any]) -> None:
        what = " ".join(f"{key}={value}" for key, value in job.varied.items())
        done = row["status"] == "done"
        more = f" ({row['seconds']:.1f} s of training)" if done else f"; {sweep.last_line(folder, job)}"
        console.print(
            f"{job.number + 1}/{len(jobs)}  {what}  {row['status']} in {row['wall_seconds']:.1f} s{more}",
            highlight=False,
            markup=False,
        )

    flags = [] if config_dir is None else ["--config-dir", config_dir]
    try:
        rows = sweep.run_all(jobs, folder, flags, tell)
    except Stopped as stopped:
        logger.info(f"stopped by {stopped.name}; finished jobs are in {folder / 'summary.csv'}")
        return stopped.exit_code
    results_table(console, f"sweep {folder.name}", rows)
    console.print(f"  {folder / 'summary.csv'}", highlight=False, markup=False, soft_wrap=True)
    return 0 if all(row["status"] == "done" for row in rows) else 1
