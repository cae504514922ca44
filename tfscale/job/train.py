"""One process of a job, from its checked configuration to its exit code: what every launcher ends up running."""

import faulthandler
import math
import os
import signal
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from tfscale.checkpoint import staging as memory
from tfscale.checkpoint.format import DamagedError, newest, quarantine
from tfscale.checkpoint.staging import StagingBuffer
from tfscale.collectives.checksummed import broadcast_text
from tfscale.config import preflight, saved
from tfscale.config.overrides import shell_word
from tfscale.config.schemas.config import Config
from tfscale.errors import UserError
from tfscale.job import build as building
from tfscale.job import environment
from tfscale.job.build import Connection, Job
from tfscale.job.failure import fail
from tfscale.runs import plots, summary
from tfscale.runs.run_directory import RunDirectory, started_by_us
from tfscale.strategies.gradient_sharing.strategy import GradientSharing
from tfscale.supervision.attempt import had_ended, restarts
from tfscale.supervision.coordinated_stop import CoordinatedStop
from tfscale.supervision.heartbeat import Heartbeat
from tfscale.supervision.signals import Noted, Stopped, signals_noted
from tfscale.terminal import RobustStream, say, survive_write_errors
from tfscale.tracking.base import Tracker
from tfscale.tracking.console import ConsoleTracker, closing_table, person_console
from tfscale.tracking.jsonl import JsonlTracker
from tfscale.tracking.tensorboard import TensorBoardTracker
from tfscale.training.checkpoints import Checkpoints
from tfscale.training.trainer import Run
from tfscale.world import World


def run_rank(config: Config, world: World, directory: RunDirectory | None) -> int:
    """Trains.

    Args:
        config: Checked.
        world: Which process this is.
        directory: Of the run; None in a process that has yet to hear of it from the chief.
    """
    survive_write_errors("stdout")
    holder = [directory]
    try:
        with signals_noted(lambda stopped: _say(stopped, world, holder[0])) as noted:
            return _run(config, world, holder, noted)
    except Stopped as stopped:
        _say(stopped, world, holder[0])
        if world.size > 1:
            os._exit(stopped.exit_code)  # Horovod's exit handler would wait for the others
        return stopped.exit_code
    except Exception as error:  # noqa: BLE001 - a process must say what it died of before the others do
        return fail(error, world, holder[0])


def _say(stopped: Stopped, world: World, directory: RunDirectory | None) -> None:
    if not world.is_chief or started_by_us():
        return
    words = f"stopped by {stopped.name}" if directory is None else directory.describe_stop(stopped.name)
    say(words)


def _run(config: Config, world: World, holder: list[RunDirectory | None], noted: Noted) -> int:
    heartbeat = None if holder[0] is None else _heartbeat(config, world, holder[0])
    connection = building.connect(config, world)
    said = broadcast_text(connection.collective, f"{uuid.uuid4().hex}\n{'' if holder[0] is None else holder[0].path}")
    attempt, _, path = said.partition("\n")
    directory = holder[0] = holder[0] or RunDirectory(Path(path))
    heartbeat = heartbeat or _heartbeat(config, world, directory)
    stop = CoordinatedStop(directory.logs, attempt, restarts(), world, noted=noted, max_time=config.train.max_time)
    job = building.build(config, connection)
    with RobustStream(directory.log(world.rank).open("ab", buffering=0)) as stream:
        log = Console(file=stream, width=160, force_terminal=False)
        console = person_console() if world.is_chief else log
        identity = {**environment.identity(), **_order_of_sums(config, job, world), "data": job.data.digest[:16]}
        checkpoints = Checkpoints(
            directory.checkpoints,
            keep=config.train.keep_checkpoints,
            process=world.rank,
            processes=world.size,
            attempt=attempt,
            identity=identity,
            memory=StagingBuffer(memory.inherit()),
            warn=lambda words: console.print(f"warning: {words}", highlight=False, markup=False),
        )
        if config.resume and _has_checkpoints(directory, connection):
            differ = _go_on(job, checkpoints, identity, directory, console if world.is_chief else None)
            if differ and config.run.strict:
                raise UserError(f"run.strict=true, but {differ}; resume where it was started, or with run.strict=false")
        elif config.resume and world.is_chief:
            console.print("the run has no checkpoint yet and begins anew", highlight=False)
        if world.is_chief:
            whole = preflight.with_replicas(config, job.collective.size)
            saved.write(whole, directory.path, threads=connection.threads)
            environment.write(directory.environment)
        for each in dict.fromkeys((console, log)):
            _introduce(each, config, job, world, directory)
            for warning in job.warnings:
                each.print(f"warning: {warning}", highlight=False, markup=False)
        trackers = _trackers(config, job, directory, world, console, log)
        results = _train(job, checkpoints, trackers, stop, heartbeat)
        log.print(f"rank {world.rank} ended well; parameters {results['parameters_sha256']}", highlight=False)
    if world.is_chief:
        _close(config, job, world, directory, console, results)
    return 0


def _order_of_sums(config: Config, job: Job, world: World) -> dict[str, Any]:
    """What the bits of sums over replicas depend on, where they are not added in replica order."""
    if config.strategy.get("reproducible", True):
        return {}
    return {"processes": world.size, "transport": job.collective.transport}


def _heartbeat(config: Config, world: World, directory: RunDirectory) -> Heartbeat:
    """The heartbeat of this rank, which also says where it is in its Python code when asked (SIGUSR1)."""
    faulthandler.register(signal.SIGUSR1, directory.stack(world.rank).open("w"), all_threads=True)
    return Heartbeat(
        directory.heartbeat(world.rank),
        timeout=config.launch.hang_timeout or math.inf,
        through=config.launch.hosts is not None,
    )


def _has_checkpoints(directory: RunDirectory, connection: Connection) -> bool:
    """Whether the run ever had a checkpoint, as the chief sees it; if not, it begins anew."""
    some = any(directory.checkpoints.glob("*step-*"))
    return broadcast_text(connection.collective, "some" if some else "none") == "some"


def _go_on(
    job: Job, checkpoints: Checkpoints, now: Mapping[str, Any], directory: RunDirectory, console: Console | None
) -> str:
    """Restores the newest sound checkpoint, which the chief, who has a console, chooses for all.

    Returns:
        How what the run's bits depend on differs from what they depend on `now`; empty if it does not.
    """

    def warn(words: str) -> None:
        if console is not None:
            console.print(f"warning: {words}", highlight=False, markup=False)

    def damaged(place: Path, error: DamagedError) -> None:
        quarantine(place)
        warn(f"checkpoint {place.name} is damaged ({error}) and set aside; using the one before it")

    chosen = ""
    if console is not None:
        chosen = f"{newest(directory.checkpoints, damaged).name} {had_ended(directory.ended_after())}"
    name, _, ended = broadcast_text(job.collective, chosen).partition(" ")
    before = checkpoints.restore(job.state, directory.checkpoints / name).identity
    if ended == str(job.state.step):  # whoever goes on with it wants more
        job.state.early_stopping.ended = False
    differ = [f"{key} {before.get(key)}, now {now.get(key)}" for key in now if before.get(key) != now.get(key)]
    words = f"the run may not end in the bits it would have had: {'; '.join(differ)}" if differ else ""
    if differ:
        warn(words)
    return words


def _train(
    job: Job, checkpoints: Checkpoints, trackers: list[Tracker], stop: CoordinatedStop, heartbeat: Heartbeat
) -> dict[str, Any]:
    run = Run(
        job.state,
        job.plan,
        data=job.data,
        evaluator=job.evaluator,
        checkpoints=checkpoints,
        trackers=trackers,
        stop=stop,
        heartbeat=heartbeat,
    )
    try:
        return run()
    finally:
        for tracker in trackers:
            tracker.close()


def _trackers(
    config: Config, job: Job, directory: RunDirectory, world: World, console: Console, log: Console
) -> list[Tracker]:
    steps, start = job.plan.steps, job.state.step
    trackers: list[Tracker] = [ConsoleTracker(log, steps=steps, start=start)]
    if world.is_chief:
        trackers += [ConsoleTracker(console, steps=steps, start=start), JsonlTracker(directory.metrics, start=start)]
        if config.run.tensorboard:
            trackers.append(TensorBoardTracker(directory.tensorboard))
    return trackers


def _introduce(console: Console, config: Config, job: Job, world: World, directory: RunDirectory) -> None:
    replicas, batch = job.collective.size, config.train.batch
    model = config.model["_target_"].rsplit(".", 1)[-1]
    lines = [
        f"{model}: {job.layout.size:,} trainable parameters; {job.data.examples:,} training and "
        f"{job.data.test_examples:,} test examples",
        f"{type(job.state.strategy).__name__}: {replicas} replicas in {world.size} process(es), batch {batch} each, "
        f"global batch {batch * replicas}; {job.plan.steps:,} steps",
    ]
    if world.size > 1:
        lines.append(f"steps exchange {job.collective.transport}")
    if config.strategy.get("shares") == "updates":
        lines.append(f"updates of each replica's own {config.optimizer['_target_'].rsplit('.', 1)[-1]} are shared")
    if config.strategy.get("momentum"):
        lines.append(f"momentum {config.strategy['momentum']} is applied before compression, not by the optimizer")
    if isinstance(job.state.strategy, GradientSharing):
        lines.append(f"messages are made by {job.state.strategy.compressor}")
    if job.state.step:
        lines.append(f"going on after step {job.state.step:,}")
    for line in [*lines, f"run: {directory.path}"]:
        console.print(line, highlight=False)


def _close(
    config: Config, job: Job, world: World, directory: RunDirectory, console: Console, results: dict[str, Any]
) -> None:
    measurements = job.state.strategy.measurements()
    document = {
        "name": directory.path.name,
        "metrics": list(config.metrics),
        **results,
        **({"skipped_steps": int(measurements["skipped_steps"])} if "skipped_steps" in measurements else {}),
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
    name, folder = directory.path.name, directory.path.parent
    words = [] if str(folder) == "runs" or folder == Path("runs").absolute() else [shell_word("run.dir", str(folder))]
    words += [f"trust=[{','.join(config.trust)}]"] if config.trust else []
    draw(directory, console)
    closing_table(console, document, [" ".join(["tfscale evaluate", f"run={name}", *words])])


def draw(directory: RunDirectory, console: Console) -> None:
    """Draws what there is to see of a run that has ended; a failure is a warning."""
    try:
        plots.draw(directory.metrics, directory.path)
    except Exception as error:  # noqa: BLE001 - the run has ended well, whatever becomes of its pictures
        words = " ".join(str(error).split())
        console.print(
            f"warning: the run could not be drawn: {type(error).__name__}: {words}", highlight=False, markup=False
        )
