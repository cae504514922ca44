"""Trains one rank of a job, from its checked configuration to its exit code; every launcher ends up here."""

import faulthandler
import math
import os
import signal
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from tfscale.checkpoint import staging
from tfscale.checkpoint.staging import StagingBuffer
from tfscale.checkpoint.store import CheckpointStore
from tfscale.collectives.checksummed import broadcast_text
from tfscale.config import preflight, saved
from tfscale.config.instantiate import instantiate
from tfscale.config.schemas.config import Config
from tfscale.data import preprocessing
from tfscale.data.base import Split
from tfscale.errors import UserError
from tfscale.job import build, environment, report, resume
from tfscale.job.build import Job
from tfscale.job.build_data import build_data
from tfscale.job.choose_strategy import choose
from tfscale.job.export import export_at_end
from tfscale.job.failure import fail
from tfscale.runs import provenance
from tfscale.runs.run_directory import RunDirectory, started_by_us
from tfscale.runs.run_id import run_id
from tfscale.supervision.attempt import restarts
from tfscale.supervision.coordinated_stop import CoordinatedStop
from tfscale.supervision.heartbeat import Heartbeat
from tfscale.supervision.phase import Phase
from tfscale.supervision.signals import PendingSignal, Stopped, signals_noted
from tfscale.terminal import RobustStream, logger, survive_write_errors
from tfscale.tracking import curves
from tfscale.tracking.background import Background
from tfscale.tracking.base import Kind, RunInfo, Subscriber, Tracker
from tfscale.tracking.console import ConsoleTracker
from tfscale.tracking.jsonl import JsonlTracker
from tfscale.tracking.tables import person_console, print_line
from tfscale.tracking.trackers import Trackers, closing_trackers
from tfscale.training.callbacks import KerasCallbacks
from tfscale.training.checkpoints import Checkpoints
from tfscale.training.observer import Observer
from tfscale.training.timeline import Timeline
from tfscale.training.trainer import Trainer
from tfscale.userinfo import without_userinfo
from tfscale.world import World


def run_rank(config: Config, world: World, directory: RunDirectory | None) -> int:
    """Trains and returns the exit code.

    Args:
        config: Checked by preflight.
        world: This process among those of the job.
        directory: Of the run; None in a process that has yet to get its path from the chief.
    """
    survive_write_errors("stdout")
    holder = [directory]
    try:
        with signals_noted(lambda stopped, lost: _report_stop(stopped, world, holder[0], lost)) as pending:
            return _run(config, world, holder, pending)
    except Stopped as stopped:
        _report_stop(stopped, world, holder[0])
        if world.size > 1:
            os._exit(stopped.exit_code)  # Horovod's exit handler would wait for the others
        return stopped.exit_code
    except BaseException as error:  # noqa: BLE001 - recorded before the others fail; user code may raise SystemExit
        return fail(error, world, holder[0])


def _report_stop(stopped: Stopped, world: World, directory: RunDirectory | None, lost: bool = False) -> None:
    """Says why this process ends, unless another one does; `lost` if steps were not saved."""
    if world.is_chief and not started_by_us():
        plain = f"stopped by {stopped.name}"
        logger.info(plain if directory is None else directory.describe_stop(stopped.name, lost=lost))


def _run(config: Config, world: World, holder: list[RunDirectory | None], pending: PendingSignal) -> int:
    heartbeat = None if holder[0] is None else _heartbeat(config, world, holder[0])
    connection = build.connect(config, world)
    own = f"{uuid.uuid4().hex}\n{'' if holder[0] is None else holder[0].path}"
    attempt, _, path = broadcast_text(connection.collective, own).partition("\n")
    directory = holder[0] = holder[0] or RunDirectory(Path(path))
    heartbeat = Timeline(directory.timeline(world.rank), heartbeat or _heartbeat(config, world, directory))
    callbacks: list[KerasCallbacks] = []
    stop = CoordinatedStop(
        directory.logs,
        attempt,
        restarts(),
        world,
        pending=pending,
        max_time=config.train.max_time,
        ends=lambda: any(each.stops for each in callbacks),
    )
    restored = config.resume and resume.has_checkpoints(directory, connection.collective)
    learned = preprocessing.read(directory.preprocessing) if config.resume else None
    data = build_data(config, learned)
    chosen = choose(config, connection, data, world, heartbeat)
    config = chosen.config
    job = build.build(config, connection, data, restored=restored)
    if world.is_chief and config.callbacks:
        callbacks.append(_callbacks(config, job))
    with RobustStream(directory.log(world.rank).open("ab", buffering=0)) as stream:
        log = Console(file=stream, width=160, force_terminal=False)
        console = person_console() if world.is_chief else log

        def warn(text: str) -> None:
            print_line(console, f"warning: {text}")

        identity = {**environment.identity(), **_order_of_sums(job, world), "data": job.data.digest[:16]}
        checkpoints = _checkpoints(config, job, world, directory, attempt, identity, warn)
        resolved = preflight.with_replicas(config, job.collective.size)
        document: Mapping[str, Any] = {}
        if world.is_chief:
            document = saved.write(resolved, directory.path, threads=connection.threads)
            facts = {"seconds_by_strategy": dict(chosen.seconds)} if chosen.seconds else {}
            environment.write(directory.environment, identity, processes=world.size, steps=job.plan.steps, **facts)
            for difference in provenance.differences(directory.environment):
                warn(difference)
            if learned is None:
                preprocessing.write(job.preprocessing, directory.preprocessing)
            report.describe_figures(job, directory)
        for each in dict.fromkeys((console, log)):
            report.introduce(each, config, job, world, directory, notes=chosen.notes)
        asked = _asked_trackers(config) if world.is_chief else {}
        with closing_trackers(_trackers(asked, directory, world, console, log, warn, heartbeat)) as trackers:
            trackers.start(_run_info(document, job, world, directory, is_new=not config.resume))
            results = Trainer(
                job.state,
                job.plan,
                data=job.data,
                evaluator=job.evaluator,
                checkpoints=checkpoints,
                tracker=trackers,
                stop=stop,
                heartbeat=heartbeat,
                callbacks=callbacks[0] if callbacks else None,
                observer=_observer(list(asked.values()), job),
            )()
            log.print(f"rank {world.rank} ended well; parameters {results['parameters_sha256']}", highlight=False)
            if world.is_chief:
                heartbeat(Phase.CLOSING, job.state.step)
                model = export_at_end(resolved, directory, warn)
                heartbeat(Phase.CLOSING, job.state.step)
                report.close(config, job, world, directory, console, trackers, results, model)
    return 0


def _callbacks(config: Config, job: Job) -> KerasCallbacks:
    made = {name: instantiate(f"callbacks.{name}", node) for name, node in config.callbacks.items()}
    return KerasCallbacks(made, job.state.replicas[0].model, epoch=job.plan.epoch, steps=job.plan.steps)


def _observer(chosen: Sequence[Subscriber], job: Job) -> Observer | None:
    """Returns the observer of the first replica, if a tracker asks for its records."""
    ratios, histograms = (any(kind in each.kinds for each in chosen) for kind in (Kind.TENSOR, Kind.HISTOGRAM))
    if not ratios and not histograms:
        return None
    return Observer(job.state.replicas[0], ratios=ratios, histograms=histograms, is_due=job.plan.logs)


def _run_info(config: Mapping[str, Any], job: Job, world: World, directory: RunDirectory, *, is_new: bool) -> RunInfo:
    """Returns the facts for trackers; `resume` is left out, as it belongs to a start and not to the run."""
    return RunInfo(
        name=directory.path.name,
        folder=directory.path,
        config=without_userinfo({key: value for key, value in config.items() if key != "resume"}),
        start=job.state.step,
        steps=job.plan.steps,
        processes=world.size,
        measurements=job.state.strategy.describe().measurements,
        evaluate_every=job.plan.evaluate_every if Split.VALIDATION in job.data.sizes else None,
        monitored=job.state.early_stopping.monitored,
        id=run_id(directory.path) if config.get("tracker") else "",
        tags=environment.origin(directory.environment) if world.is_chief else {},
        earlier=lambda: curves.earlier(directory.metrics, job.state.step),
        is_new=is_new,
    )


def _checkpoints(
    config: Config,
    job: Job,
    world: World,
    directory: RunDirectory,
    attempt: str,
    identity: Mapping[str, Any],
    warn: Callable[[str], None],
) -> Checkpoints:
    """Returns the checkpoints of the run, after the job has been restored from the newest if it is resumed.

    Raises:
        UserError: run.strict=true, and the bits depend on something else than before.
    """
    store = CheckpointStore(
        directory.checkpoints,
        keep=config.train.keep_checkpoints,
        process=world.rank,
        processes=world.size,
        attempt=attempt,
        buffer=StagingBuffer(staging.inherit()),
        warn=warn,
    )
    checkpoints = Checkpoints(store, identity=identity)
    if config.resume:
        chiefs = warn if world.is_chief else lambda text: None
        differ = resume.restore_newest(job, checkpoints, identity, directory, world, chiefs)
        if differ and config.run.strict:
            raise UserError(f"run.strict=true, but {differ}; resume where it was started, or with run.strict=false")
    return checkpoints


def _order_of_sums(job: Job, world: World) -> dict[str, Any]:
    """Returns what the bits of sums over replicas depend on, unless they are added in replica order."""
    if job.state.strategy.is_reproducible:
        return {}
    return {"processes": world.size, "transport": job.collective.transport}


def _heartbeat(config: Config, world: World, directory: RunDirectory) -> Heartbeat:
    """Begins the heartbeat of this rank; SIGUSR1 makes the rank write its Python stacks from here on."""
    faulthandler.register(signal.SIGUSR1, directory.stack(world.rank).open("w"), all_threads=True)
    heartbeat = Heartbeat(
        directory.heartbeat(world.rank),
        timeout=config.launch.hang_timeout or math.inf,
        shared=config.launch.hosts is not None,
    )
    signal.signal(signal.SIGCONT, lambda number, frame: heartbeat.discard_duration())
    signal.siginterrupt(signal.SIGCONT, False)  # libraries need not expect interrupted system calls
    return heartbeat


def _asked_trackers(config: Config) -> dict[str, Subscriber]:
    """Returns the trackers of the group `tracker` by name.

    Raises:
        UserError: One of them cannot be made, or is no tracker.
    """
    chosen: dict[str, Subscriber] = {}
    for name, node in config.tracker.items():
        tracker = instantiate(f"tracker.{name}", node)
        if not isinstance(tracker, Subscriber):
            raise UserError(
                f"tracker.{name}._target_ must make a tracker with kinds, timeout and the methods of Subscriber in "
                f"tfscale/tracking/base.py, got {node['_target_']}; add what is missing"
            )
        chosen[name] = tracker
    return chosen


def _trackers(
    chosen: Mapping[str, Subscriber],
    directory: RunDirectory,
    world: World,
    console: Console,
    log: Console,
    warn: Callable[[str], None],
    timeline: Timeline,
) -> Trackers:
    """Each process tracks its run in its log and timeline; the chief on the console, in metrics.jsonl and as asked."""
    trackers: list[Tracker] = [ConsoleTracker(log), timeline]
    if not world.is_chief:
        return Trackers(trackers, warn=warn)
    recorded = JsonlTracker(directory.metrics)
    trackers += [ConsoleTracker(console), recorded]
    trackers += [Background(name, tracker, warn=warn) for name, tracker in chosen.items()]
    return Trackers(trackers, warn=warn, recorded=recorded)
