"""The analysis of one participant: what is recorded and unchanged is kept, the rest is run, and a record is written.

Its three parts, to prepare, to compute and to write, can be done in processes of their own.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vp_engine.cohort.derivatives import read_registrations
from vp_engine.cohort.engine import Engine, device_failures
from vp_engine.cohort.fallback import SpillingSegmenter
from vp_engine.cohort.outcome import Outcome
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
from vp_engine.errors import InputRefused
from vp_engine.volumes.intake import GateLimits
from vp_engine.volumes.volume import Volume

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
    participant : str
    model_id : str
    fingerprints : mapping of str to Fingerprint
        By `Task.id`.
    kept : mapping of str to TaskRecord
        Tasks that are not done again.
    """

    participant: str
    model_id: str
    fingerprints: Mapping[str, Fingerprint]
    kept: Mapping[str, TaskRecord]


@dataclass(frozen=True, slots=True)
class Finished:
    """One task came to its end, and its files are written."""

    participant: str
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


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What is known of a participant before any network has seen it.

    Attributes
    ----------
    begun : Begun
    hashes : mapping of str to str
        Path → sha256 of every scan.
    strays : bool
        Whether tasks are on record that are not asked for any more.
    """

    begun: Begun
    hashes: Mapping[str, str | None]
    strays: bool

    def open_tasks(self, job: Job) -> list[Task]:
        """Tasks of the participant that are to be run."""
        return [task for task in job.tasks if task.id not in self.begun.kept]


def tell_nobody(_message: Begun | Finished) -> None:
    """Let an analysis go on without anyone who watches it."""


def analyse_participant(job: Job, *, engine: Engine, tell: Callable[[Begun | Finished], None] = tell_nobody) -> str:
    """Run the tasks of one participant that are not recorded yet, and write the record, all in this process.

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
    prepared = prepare(job, engine.model_id)
    tell(prepared.begun)
    writer = ParticipantWriter(job, prepared.begun, strays=prepared.strays)
    for outcome in compute(job, prepared, engine):
        tell(writer.write(outcome))
    return writer.close()


def prepare(job: Job, model_id: str) -> Prepared:
    """Hash the scans of a participant, read its record, and so find what there is to do; nothing is touched.

    Raises
    ------
    InfrastructureError
        If the disk fails.
    """
    hashes = scan_hashes(job.tasks, job.root)
    prints = {task.id: task.fingerprint(hashes, model_id, limits=job.limits) for task in job.tasks}
    recorded = load_record(job.output, job.tasks[0].dataset, job.participant)
    kept = {name: record for name, record in recorded.items() if name in prints and record.key == prints[name].key}
    return Prepared(Begun(job.participant, model_id, prints, kept), hashes, strays=not recorded.keys() <= prints.keys())


def compute(
    job: Job,
    prepared: Prepared,
    engine: Engine,
    *,
    images: Callable[[], Mapping[str, Volume | InputRefused]] = dict,
) -> Iterator[Outcome]:
    """Run the tasks of a participant that are not on record, one after another.

    Parameters
    ----------
    job : Job
    prepared : Prepared
        Of the participant.
    engine : Engine
    images : callable, optional
        Gives the scans that were read ahead, by path, or why the gate refuses them; asked when there is something to
        run.

    Raises
    ------
    InfrastructureError
        If the disk or the device fails.
    """
    todo = prepared.open_tasks(job)
    if not todo:
        return
    with device_failures():
        models = engine.load()
        # with it comes torch, which takes seconds that a job without work should not cost
        from vp_engine.cohort.results import announce, run_task

        known = read_registrations(job.derivatives, prepared.begun.kept.values())
        streams = Streams([choice for task in todo for choice in task.choices], prepared.hashes, known)
        segmenter = SpillingSegmenter(models.segmenter, models.on_cpu)
        scans = Scans(job.root, segmenter, limits=job.limits, streams=streams, images=images())
        announce(todo, scans, engine)
        for task in todo:
            yield run_task(task, prepared.begun.fingerprints[task.id], scans, engine)


class ParticipantWriter:
    """Writes what comes of the tasks of one participant, and the record last.

    Parameters
    ----------
    job : Job
    begun : Begun
        Of the participant.
    strays : bool
        Whether tasks are on record that are not asked for any more.
    """

    def __init__(self, job: Job, begun: Begun, *, strays: bool) -> None:
        self._job = job
        self._begun = begun
        self._changed = strays
        self._records = dict(begun.kept)
        _sweep(job)

    def write(self, outcome: Outcome) -> Finished:
        """Write the files of one task.

        Raises
        ------
        InfrastructureError
            If the disk fails.
        """
        name = outcome.task.id
        self._records[name] = outcome.write(self._job.derivatives)
        self._changed = True
        return Finished(self._job.participant, name, self._records[name])

    def close(self) -> str:
        """Write the record, if anything changed, and remove files that no task names; the sha256 of `done.json`.

        Raises
        ------
        InfrastructureError
            If the disk fails.
        """
        job, kept = self._job, len(self._begun.kept)
        ordered = {task.id: self._records[task.id] for task in job.tasks}
        if self._changed:
            return _save(job, ordered, model_id=self._begun.model_id, kept=kept)
        remove_strays(job.derivatives, job.participant, ordered)
        _log.info("sub-%s: %s", job.participant, _told(ordered, kept=kept))
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


def _save(job: Job, records: Mapping[str, TaskRecord], *, model_id: str, kept: int) -> str:
    remove_strays(job.derivatives, job.participant, records)
    sha256 = save_record(job.record, records, model_id=model_id)
    _log.info("sub-%s: %s", job.participant, _told(records, kept=kept))
    return sha256


def _told(records: Mapping[str, TaskRecord], *, kept: int) -> str:
    statuses = Counter(record.status for record in records.values())
    return f"{', '.join(f'{count} {status}' for status, count in sorted(statuses.items()))} ({kept} kept)"
