"""`tfscale report`: writes one HTML page about a run, several runs or a sweep."""

import argparse
from pathlib import Path

from tfscale import atomic_file, user_paths
from tfscale.config import find_run
from tfscale.config.overrides import parse, separate
from tfscale.errors import UserError


def main(flags: argparse.Namespace) -> int:
    """Writes the page and prints its path.

    Raises:
        UserError: There is no such run, or the page cannot be written.
    """
    names, values = find_run.names_and_values(flags.words)
    given, rest = separate(parse(values), ("to", "run.dir"))
    if rest:
        raise UserError(
            f"report takes to=FILE.html and run.dir=DIR, got {rest[0].input_line}; type: tfscale report --help"
        )
    folder = user_paths.expanded(given.get("run.dir", "runs"))
    found: dict[Path, str] = {}
    sweeps = []
    for name in names or [find_run.LATEST]:
        jobs = _jobs(name, folder)
        sweeps += jobs[:1] and [jobs[0].parent]
        for path in jobs or [find_run.find(name, folder)]:
            found[path] = _shown(path, jobs[0].parent if jobs and len(names) == 1 else folder)
    is_sweep = len(sweeps) == 1 == len(names)
    place = sweeps[0] if is_sweep else next(iter(found)) if len(found) == 1 else folder
    target = user_paths.expanded(given["to"]) if "to" in given else place / "report.html"
    if user_paths.is_dir(target):
        raise UserError(f"to must be a file, got {target}, which is a folder; type to={target / 'report.html'}")
    from tfscale.report.page import page
    from tfscale.report.read import read_run
    from tfscale.tracking.tables import person_console

    runs = [read_run(path, name) for path, name in found.items()]
    content = page(runs, sweep=sweeps[0] if is_sweep else None)
    try:
        atomic_file.replace(target, content)
    except OSError as error:
        raise UserError(f"to={target} cannot be written ({error.strerror}); name another file: to=FILE.html") from None
    console = person_console()
    console.print(str(target), highlight=False, markup=False, soft_wrap=True)
    return 0


def _jobs(name: str, folder: Path) -> list[Path]:
    """Returns the jobs of a sweep, or the runs in a folder; none if the name is that of a run or of nothing."""
    if name == find_run.LATEST:
        return []
    for path in (folder / name, user_paths.expanded(name)):
        if find_run.exists(path):
            return []
        if jobs := find_run.all_runs(path):
            return jobs
    return []


def _shown(path: Path, folder: Path) -> str:
    """The name of a run: SWEEP/job-001 for a job."""
    try:
        return str(path.relative_to(folder))
    except ValueError:
        return path.name
