"""The analysis of one participant: what is recorded and unchanged is kept, the rest is run, and a record is written."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vp_engine.cohort.derivatives import read_registrations
from vp_engine.cohort.engine import Engine, device_failures
from vp_engine.cohort.fallback import SpillingSegmenter
from vp_engine.cohort.publish import sha256_of, sweep
from vp_engine.cohort.records import (
    TaskRecord,
    derivative_folder,
    load_record,
    record_folder,
    remove_strays,
    save_record,
)
from vp_engine.cohort.scans import Scans
from vp_engine.cohort.streams import Streams
from vp_engine.cohort.tasks import Fingerprint, Task, run_row, scan_hashes
from vp_engine.volumes.intake import GateLimits

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done for one participant.

    Attributes
    ----------
    tasks : tuple of Task
        All tasks of the participant; what is recorded of others is removed.
    root : Path
        The dataset.
    output : Path
        Output directory.
    limits : GateLimits or None
        What the intake gate accepts, if not the usual.
    """

    tasks: tuple[Task, ...]
    root: Path
    output: Path
    limits: GateLimits | None = None

    @property
    def participant(self) -> str:
        """Label of the participant."""
        return self.tasks[0].participant

    @property
    def record(self) -> Path:
        """Where the record lies."""
        return record_folder(self.output, self.tasks[0].dataset, self.participant)

    @property
    def derivatives(self) -> Path:
        """Root of the derivative dataset."""
        return derivative_folder(self.output, self.tasks[0].dataset)


@dataclass(frozen=True, slots=True)
class Begun:
    """Scans were hashed and the record was read: what there is to do is known.

    Attributes
    ----------
    model_id : str
    fingerprints : mapping of str to Fingerprint
        By `Task.id`.
    kept : mapping of str to TaskRecord
        Tasks that are not done again.
    """

    model_id: str
    fingerprints: Mapping[str, Fingerprint]
    kept: Mapping[str, TaskRecord]


@dataclass(frozen=True, slots=True)
class Finished:
    """One task came to its end."""

    task: str
    record: TaskRecord


@dataclass(slots=True)
class Known:
    """What has been told of an analysis so far."""

    begun: Begun | None = None
    finished: dict[str, TaskRecord] = field(default_factory=dict)

    def add(self, message: Begun | Finished) -> None:
        """Take note of a message."""
        if isinstance(message, Begun):
            self.begun = message
        else:
            self.finished[message.task] = message.record


def tell_nobody(_message: Begun | Finished) -> None:
    """Let an analysis go on without anyone who watches it."""


def analyse_participant(job: Job, *, engine: Engine, tell: Callable[[Begun | Finished], None] = tell_nobody) -> str:
    """Run the tasks of one participant that are not recorded yet, and write the record.

    Parameters
    ----------
    job : Job
    engine : Engine
        Its models are loaded only when something is to be run.
    tell : callable, optional
        Is told how far the analysis has come, for `give_up`.

    Returns
    -------
    str
        sha256 of the `done.json`.

    Raises
    ------
    InfrastructureError
        If the disk or the device fails; nothing recorded is lost.
    """
    dataset, participant = job.tasks[0].dataset, job.participant
    _sweep(job)
    hashes = scan_hashes(job.tasks, job.root)
    prints = {task.id: task.fingerprint(hashes, engine.model_id, limits=job.limits) for task in job.tasks}
    recorded = load_record(job.output, dataset, participant)
    kept = {name: record for name, record in recorded.items() if name in prints and record.key == prints[name].key}
    tell(Begun(engine.model_id, prints, kept))
    todo = [task for task in job.tasks if task.id not in kept]
    records = dict(kept)
    if todo:
        with device_failures():
            models = engine.load()
        streams = Streams(
            [choice for task in todo for choice in task.choices],
            hashes,
            read_registrations(job.derivatives, kept.values()),
        )
        segmenter = SpillingSegmenter(models.segmenter, models.on_cpu)
        scans = Scans(job.root, segmenter, limits=job.limits, streams=streams)
        marked = {task.id: (task, prints[task.id]) for task in todo}
        for name, record in _run(marked, scans, derivatives=job.derivatives, engine=engine):
            records[name] = record
            tell(Finished(name, record))
    ordered = {task.id: records[task.id] for task in job.tasks}
    if todo or set(recorded) != set(ordered):
        return _save(job, ordered, model_id=engine.model_id, kept=len(kept))
    remove_strays(job.derivatives, participant, ordered)
    _log.info("sub-%s: %s", participant, _told(ordered, kept=len(kept)))
    return sha256_of(job.record / "done.json")


def give_up(job: Job, known: Known, *, model_id: str, status: str, reason: str) -> str:
    """Write the record of a participant whose analysis was ended: finished tasks as they are, a row for each other.

    No one may work on the participant any more.

    Parameters
    ----------
    job : Job
    known : Known
        How far the analysis had come.
    model_id : str
    status : str
        ``timeout`` or ``interrupted``; either is done again by the next run.
    reason : str
        Code, colon, sentence.

    Returns
    -------
    str
        sha256 of the `done.json`.

    Raises
    ------
    InfrastructureError
        If the disk fails.
    """
    _sweep(job)
    records = {**(known.begun.kept if known.begun else {}), **known.finished}
    unread = {path: None for task in job.tasks for path in task.paths}
    for task in job.tasks:
        if task.id in records:
            continue
        if known.begun is not None:
            mark = known.begun.fingerprints[task.id]
        else:
            mark = task.fingerprint(unread, model_id, limits=job.limits)
        # what the plan has settled needs no analysis
        outcome = (status, reason) if task.status is None else (task.status, task.reason)
        row = run_row(task, mark, model_id) | dict(zip(("status", "reason"), outcome, strict=True))
        rows = {"runs": [row], "measurements": [], "segmentations": []}
        records[task.id] = TaskRecord(mark.key, row["status"], outputs={}, rows=rows)
    ordered = {task.id: records[task.id] for task in job.tasks}
    return _save(job, ordered, model_id=model_id, kept=len(known.begun.kept) if known.begun else 0)


def _sweep(job: Job) -> None:
    sweep(job.record)
    sweep(job.derivatives / f"sub-{job.participant}")


def _run(
    todo: Mapping[str, tuple[Task, Fingerprint]], scans: Scans, *, derivatives: Path, engine: Engine
) -> Iterator[tuple[str, TaskRecord]]:
    # with it comes torch, which takes seconds that a job without work should not cost
    from vp_engine.cohort.results import announce, run_task

    with device_failures():
        announce([task for task, _ in todo.values()], scans, engine)
        for name, (task, fingerprint) in todo.items():
            yield name, run_task(task, fingerprint, scans, engine, root=derivatives)


def _save(job: Job, records: Mapping[str, TaskRecord], *, model_id: str, kept: int) -> str:
    remove_strays(job.derivatives, job.participant, records)
    sha256 = save_record(job.record, records, model_id=model_id)
    _log.info("sub-%s: %s", job.participant, _told(records, kept=kept))
    return sha256


def _told(records: Mapping[str, TaskRecord], *, kept: int) -> str:
    statuses = Counter(record.status for record in records.values())
    return f"{', '.join(f'{count} {status}' for status, count in sorted(statuses.items()))} ({kept} kept)"
