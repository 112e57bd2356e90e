"""The two processes of a job, started, listened to and ended together: one computes, the other writes."""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from vp_engine.cohort.engine import Engine
from vp_engine.cohort.messages import Setup
from vp_engine.cohort.participant import Job

_DYING_S = 5.0
_SLICE_S = 1.0
_SUSPENDED_S = 3.0
_LOGGERS = ("", "vp", "vp_engine")
_PROGRAM = "import sys; from vp_engine.cohort.{role} import main; main(*map(int, sys.argv[1:]))"


class WakingClock:
    """A clock that stands while this process is suspended, as a batch system does to let others go first.

    It waits a second at a time. A process that was not run for `_SUSPENDED_S` longer was suspended, and with it all of
    its job; at most that second is lost.
    """

    def __init__(self) -> None:
        self._suspended = 0.0

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic() - self._suspended

    def wait(self, objects: Sequence[Connection | socket.socket], limit: float) -> Sequence[object]:
        """Wait for objects to have something to read, until a moment of this clock; none where nothing came."""
        ready: Sequence[object] = ()
        while not ready and (left := limit - self.now()) > 0:
            asked, patience = time.monotonic(), min(left, _SLICE_S)
            ready = wait(objects, patience)
            late = time.monotonic() - asked - patience
            self._suspended += late if late > _SUSPENDED_S else 0.0
        return ready or wait(objects, 0)


class Late(Exception):
    """Nothing was heard before the limit."""


class Gone(Exception):
    """Both processes have ended, and all they said was heard.

    Attributes
    ----------
    first : str
        ``worker`` or ``writer``, whichever ended first.
    by : str
        What ended it, such as ``SIGKILL``.
    """

    def __init__(self, first: str, by: str) -> None:
        super().__init__(first, by)
        self.first = first
        self.by = by


@dataclass(slots=True, eq=False)
class _Member:
    role: str
    process: subprocess.Popen[bytes]
    connection: Connection
    open: bool = True


class Crew:
    """A worker and its writer.

    Parameters
    ----------
    load_engine : callable
        For the worker.
    clock : WakingClock
        Of the limits of `receive`.
    """

    def __init__(self, load_engine: Callable[[], Engine], clock: WakingClock) -> None:
        self._clock = clock
        levels = {name: logging.getLogger(name).level for name in _LOGGERS}
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._writer = _Member("writer", *start_process("writer", theirs))
            self._worker = _Member("worker", *start_process("worker", ours))
        self._first: _Member | None = None
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        with suppress(ConnectionError):  # ended already, which is noticed when it is listened to
            self._writer.connection.send(levels)
        threading.Thread(target=self._send, args=(Setup(load_engine, levels),), daemon=True).start()

    def send(self, job: Job) -> None:
        """Give the worker a job; it comes to nothing when the worker is gone, which `receive` tells.

        Does not wait for the worker, which may be in a state in which it takes nothing any more.
        """
        self._jobs.put(job)

    def receive(self, limit: float, interrupt: socket.socket) -> object:
        """Next message; None when `interrupt` has something to read.

        Parameters
        ----------
        limit : float
            On the clock; infinite for none.
        interrupt : socket

        Raises
        ------
        Late
            When nothing comes before the limit.
        Gone
            When both processes have ended. The writer goes on for a while without the worker.
        """
        while members := [one for one in (self._worker, self._writer) if one.open]:
            ready = self._clock.wait([interrupt, *(one.connection for one in members)], limit)
            if interrupt in ready:
                return None
            if not ready:
                raise Late
            # the worker first: what it says of a participant comes before what the writer says
            speaking = next(one for one in members if one.connection in ready)
            try:
                message = speaking.connection.recv()
            except (EOFError, OSError):  # the latter in the middle of a message
                self._left(speaking)
                continue
            if not isinstance(message, logging.LogRecord):
                return message
            logger = logging.getLogger(message.name)
            if logger.isEnabledFor(message.levelno):
                logger.handle(message)
        first = self._first or self._worker
        # one that notices that the other is gone ends in order
        ended = next((one for one in (first, self._worker, self._writer) if one.process.wait() != 0), first)
        raise Gone(ended.role, _fate(ended.process))

    def end_worker(self) -> None:
        """End the process that computes; the other writes what it was given, and ends."""
        _end(self._worker)
        self._first = self._first or self._worker

    def end(self) -> None:
        """End both."""
        self._jobs.put(None)
        self.end_worker()
        _end(self._writer)

    def _send(self, first: Setup) -> None:
        message: Setup | Job | None = first
        try:
            while message is not None:
                self._worker.connection.send(message)
                message = self._jobs.get()
        except OSError:
            return  # ended, which is noticed when it is listened to

    def _left(self, member: _Member) -> None:
        """One is gone, or about to be: it is waited for, and the worker does not go on without the writer."""
        self._first = self._first or member
        _end(member, patience_s=_DYING_S)
        if member is self._writer:
            self.end_worker()


def start_process(role: str, channel: socket.socket) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start the process of `vp_engine.cohort.<role>` with one end of a channel; it and the connection to it."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - this very Python, on code of ours
            [
                *(sys.executable, "-P", "-c", _PROGRAM.format(role=role)),
                *map(str, (theirs.fileno(), channel.fileno(), os.getpid())),
            ],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno(), channel.fileno()],
        )
    return process, Connection(ours.detach())


def _end(member: _Member, *, patience_s: float = 0.0) -> None:
    """End a process, whatever it does; one that is dying already is waited for."""
    try:
        member.process.wait(patience_s)
    except subprocess.TimeoutExpired:
        member.process.kill()
        member.process.wait()
    if member.open:
        member.open = False
        member.connection.close()


def _fate(process: subprocess.Popen[bytes]) -> str:
    code = process.wait()
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
