"""Reading ahead: participants are prepared and their scans read by other processes while the network computes.

What such a process does changes nothing but time: one that is ended, by a file that a library stumbles over, costs the
reading ahead, and the participant is read again by the process that computes, which is watched.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing.connection import Connection
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

_log = logging.getLogger(__name__)


def reader_count() -> int:
    """Processes that read ahead: as many as there are processors beside one, at most `MOST_READERS`."""
    return max(1, min(MOST_READERS, len(os.sched_getaffinity(0)) - 1))


class ReadAhead:
    """Prepares participants in other processes, as a context.

    The processes are forked at once, so this comes before anything that starts threads, such as torch.

    Parameters
    ----------
    processes : int
    foreign : sequence of Connection, optional
        Connections of this process. The others close their copies, so that who listens at the far end notices at once
        when this process is gone, even while one of the others waits for a disk that does not answer.
    """

    def __init__(self, processes: int, foreign: Sequence[Connection] = ()) -> None:
        context = multiprocessing.get_context("fork")
        self._pool = ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(os.getpid(), foreign))
        self._asked: dict[str, Future[Prepared]] = {}
        self._broken = False

    def __enter__(self) -> Self:
        """Fork."""
        self._pool.submit(os.getpid).result()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Let the processes end when they have done what they are at."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def ask(self, job: Job, model_id: str) -> None:
        """Have a participant prepared, when a process has time."""
        if not self._broken:
            try:
                self._asked[job.participant] = self._pool.submit(read_ahead, job, model_id)
            except BrokenProcessPool:
                self._give_up()

    def take(self, job: Job, model_id: str) -> Prepared:
        """What was prepared, waiting for it; prepared here and now where that did not come about.

        Raises
        ------
        InfrastructureError
            If the disk fails.
        """
        asked = self._asked.pop(job.participant, None)
        if asked is not None:
            try:
                return asked.result()
            except BrokenProcessPool:
                self._give_up()
        return prepare(job, model_id)

    def _give_up(self) -> None:
        if not self._broken:
            _log.warning("a process that reads ahead was ended by something else; scans are read one after another")
        self._broken = True
        self._asked.clear()


def read_ahead(job: Job, model_id: str) -> Prepared:
    """Prepare a participant, and read the scans that its open tasks most likely start with.

    Those are the first of each session, and what is to be read together with it; others are read when a program asks
    for them.
    """
    prepared = prepare(job, model_id)
    return replace(prepared, images=_images(job, prepared))


def _images(job: Job, prepared: Prepared) -> Mapping[str, Volume | InputRefused]:
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


def _begin(parent: int, foreign: Sequence[Connection]) -> None:
    end_with(parent)
    for connection in foreign:
        connection.close()
    logging.getLogger().handlers.clear()  # they write to the connection of the process that computes
