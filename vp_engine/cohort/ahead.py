"""Reading ahead: participants are prepared and their scans read by other processes while the network computes.

What such a process does changes nothing but time: one that is ended, by a file that a library stumbles over or for the
memory it takes, costs the reading ahead, and the participant is read by the process that computes, which is watched.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import TracebackType
from typing import Self

from vp_engine.cohort.participant import Job, Prepared, prepare
from vp_engine.cohort.scans import KEPT_BYTES
from vp_engine.cohort.talking import end_with
from vp_engine.errors import InputRefused
from vp_engine.volumes.nifti import read_image
from vp_engine.volumes.volume import Volume

MOST_READERS = 4
"""Processes that read ahead, where there are processors enough."""

Images = Mapping[str, Volume | InputRefused]
"""Path → scans that were read, or why the gate refuses them."""

_ENDING_S = 1.0

_log = logging.getLogger(__name__)


def reader_count() -> int:
    """Processes that read ahead: as many as there are processors beside one, at most `MOST_READERS`."""
    return max(1, min(MOST_READERS, len(os.sched_getaffinity(0)) - 1))


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """A participant that is to be prepared; what comes of it is None where that did not come about."""

    job: Job
    model_id: str
    prepared: Future[Prepared | None] = field(default_factory=Future)
    images: Future[Images] = field(default_factory=Future)


class ReadAhead:
    """Prepares participants in other processes, as a context.

    The processes are forked at once, so this comes before anything that starts threads, such as torch. Each has a pipe
    of its own, whose other end nobody else holds, so that its end is noticed whatever it was at.

    Parameters
    ----------
    processes : int
    foreign : sequence of Connection, optional
        Connections of this process. The others close their copies, so that who listens at the far end notices at once
        when this process is gone, even while one of the others waits for a disk that does not answer.
    """

    def __init__(self, processes: int, foreign: Sequence[Connection] = ()) -> None:
        self._number = processes
        self._foreign = foreign
        self._asked: dict[str, _Asked] = {}
        self._queue: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._readers: list[tuple[ForkProcess, Connection]] = []
        self._closing = False

    def __enter__(self) -> Self:
        """Fork, then start a thread for each process."""
        context = multiprocessing.get_context("fork")
        for _ in range(self._number):
            ours, theirs = context.Pipe()
            foreign = (*self._foreign, ours, *(connection for _, connection in self._readers))
            process = context.Process(target=_serve, args=(theirs, os.getpid(), foreign), daemon=True)
            with theirs:
                try:
                    process.start()
                except OSError as error:
                    _log.warning("%s; fewer scans are read ahead", error)
                    break
            self._readers.append((process, ours))
        for reader in self._readers:
            threading.Thread(target=self._drive, args=reader, daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """End the processes."""
        self._closing = True
        for process, _connection in self._readers:
            self._queue.put(None)
            process.kill()
            process.join(_ENDING_S)

    def ask(self, job: Job, model_id: str) -> None:
        """Have a participant prepared, when a process has time."""
        asked = self._asked[job.participant] = _Asked(job, model_id)
        self._queue.put(asked)

    def prepared(self, job: Job, model_id: str) -> Prepared:
        """What is known of a participant; found here and now where no other process is at it.

        Raises
        ------
        InfrastructureError
            If the disk fails.
        """
        asked = self._asked.get(job.participant)
        if asked is not None and not asked.prepared.cancel():
            prepared = asked.prepared.result()
            if prepared is not None:
                return prepared
        self._asked.pop(job.participant, None)
        return prepare(job, model_id)

    def images(self, job: Job) -> Images:
        """Scans of a participant that were read ahead, waited for; they are not kept here."""
        asked = self._asked.pop(job.participant, None)
        return {} if asked is None else asked.images.result()

    def forget(self, job: Job) -> None:
        """Keep nothing of a participant any longer."""
        self._asked.pop(job.participant, None)

    def _drive(self, process: ForkProcess, connection: Connection) -> None:
        while self._one(connection):
            pass
        process.kill()

    def _one(self, connection: Connection) -> bool:
        """Have one participant prepared, and say whether the process goes on."""
        asked = self._queue.get()
        if asked is None:
            return False
        if not asked.prepared.set_running_or_notify_cancel():
            return True
        try:
            connection.send((asked.job, asked.model_id))
            asked.prepared.set_result(connection.recv())
            asked.images.set_result(connection.recv())
        except Exception:  # noqa: BLE001 - ended, or what it says does not fit into memory
            if not self._closing:
                _log.warning("a process that reads ahead was ended by something else; fewer scans are read ahead")
            if not asked.prepared.done():
                asked.prepared.set_result(None)
            asked.images.set_result({})
            return False
        return True


def read_ahead(job: Job, model_id: str) -> Iterator[Prepared | Images]:
    """Prepare a participant, then read the scans that its open tasks most likely start with.

    Those are the first of each session, and what is to be read together with it; others are read when a program asks
    for them.
    """
    prepared = prepare(job, model_id)
    yield prepared
    yield _images(job, prepared)


def _images(job: Job, prepared: Prepared) -> Images:
    images: dict[str, Volume | InputRefused] = {}
    held = 0
    for path in _likely(job, prepared):
        if held > KEPT_BYTES:
            break
        try:
            image = read_image(job.root / path, root=job.root, limits=job.limits)
        except InputRefused as refusal:
            images[path] = refusal
        else:
            images[path] = image
            held += image.data.nbytes
    return images


def _likely(job: Job, prepared: Prepared) -> list[str]:
    paths: dict[str, None] = {}
    for task in prepared.open_tasks(job):
        sessions: set[str | None] = set()
        for choice in task.choices if task.status is None else ():
            if choice.scan.session not in sessions:
                sessions.add(choice.scan.session)
                paths |= dict.fromkeys(scan.path for scan in (choice.scan, *choice.others))
    return list(paths)


def _serve(connection: Connection, parent: int, foreign: Sequence[Connection]) -> None:
    """Answer what is asked, until the parent is gone."""
    end_with(parent)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # by which multiprocessing ends what it started
    for other in foreign:
        other.close()
    logging.getLogger().handlers.clear()  # they write to the connection of the process that computes
    with suppress(OSError):
        # where memory runs out, this process is the one to be ended, as it costs nobody a result
        Path("/proc/self/oom_score_adj").write_text("1000")
    with suppress(EOFError, OSError):
        while True:
            _answer(connection, *connection.recv())


def _answer(connection: Connection, job: Job, model_id: str) -> None:
    """Send what is known of a participant, then its images; nothing for what fails, which is tried where it counts."""
    open_answers: list[Prepared | Images | None] = [{}, None]
    try:
        for answer in read_ahead(job, model_id):
            connection.send(answer)
            open_answers.pop()
    except Exception:  # noqa: BLE001 - the process that computes will find out, and is watched
        while open_answers:
            connection.send(open_answers.pop())
