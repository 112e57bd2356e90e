"""Who watches the process that analyses participants: it is ended at a deadline or by a signal, and its fate told.

The parent loads no models. Whatever the process does, be it hanging in a library, using up the memory or crashing,
costs the participant it worked on and no other.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from vp_engine.cohort.engine import Engine
from vp_engine.cohort.participant import Begun, Finished, Job, Known, give_up
from vp_engine.cohort.worker import Done, Failed, Loading, Ready, Setup
from vp_engine.errors import InfrastructureError

START_LIMIT_S = 1800.0
"""Longest that verifying the weights, and loading the models, may take."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that ask a job to stop."""

_DYING_S = 5.0
_LOGGERS = ("", "vp", "vp_engine")
_PROGRAM = "import sys; from vp_engine.cohort.worker import main; main(int(sys.argv[1]), int(sys.argv[2]))"

_log = logging.getLogger(__name__)


class _Late(Exception):
    """Nothing was heard before the limit."""


class WorkerEnded(InfrastructureError):
    """The process that worked on a participant was ended by something else: memory used up, a crash, a person."""

    default_code = "worker_ended"


class Stopped(InfrastructureError):
    """A signal asked this job to stop."""

    default_code = "stopped"


class Supervisor:
    """Analyses participants in a process of its own, as a context: ``with Supervisor(...) as analyse: analyse(job)``.

    While the context is open, SIGTERM, SIGINT and SIGHUP are waited for along with the process.

    Parameters
    ----------
    load_engine : callable
        Verifies the weights and gives the engine, in the process; a function of a module, or a `partial` of one.
    deadline_s : float
        Longest that one participant may take, loading models not counted.
    """

    def __init__(self, load_engine: Callable[[], Engine], *, deadline_s: float) -> None:
        self._load_engine = load_engine
        self._deadline_s = deadline_s
        self._process: subprocess.Popen[bytes] | None = None
        self._messages: Connection | None = None
        self._model_id: str | None = None
        self._signals, self._signal_sent = socket.socketpair()
        self._signal_sent.setblocking(False)
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Take over the signals."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # such as SIGHUP under nohup
                    self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """End the process and give the signals back."""
        self._end()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._signals.close()
        self._signal_sent.close()

    def __call__(self, job: Job) -> str:
        """Analyse one participant and return the sha256 of its `done.json`.

        A participant that takes too long gets rows of status ``timeout``, one whose process is ended from outside rows
        of status ``interrupted``; tasks it had finished are kept.

        Raises
        ------
        WorkerEnded
            When the process was ended, but not from here.
        Stopped
            When a signal asks this job to stop.
        Exception
            Whatever the analysis raises.
        """
        connection = self._started()
        known = Known()
        try:
            connection.send(job)
            outcome = self._followed(known)
        except _Late:
            self._end()
            return self._timed_out(job, known)
        except Stopped as stop:
            self._end()
            self._interrupted(job, known, stop)
            raise
        except (EOFError, ConnectionError):
            by = self._end(patience_s=_DYING_S)
            ended = WorkerEnded(
                f"Expected the process that works on sub-{job.participant} to go on, but it was ended by {by}; "
                "most often the memory is used up. Give the job more, then run it again."
            )
            self._interrupted(job, known, ended)
            raise ended from None
        if isinstance(outcome, Failed):
            raise outcome.error
        return outcome.sha256

    def _followed(self, known: Known) -> Done | Failed:
        """Listen until a job has come to an end."""
        limit = time.monotonic() + self._deadline_s
        loading = False
        while True:
            message = self._next(limit, loading=loading)
            match message:
                case Done() | Failed():
                    return message
                case Loading():
                    loading = not message.ended
                    limit = time.monotonic() + (START_LIMIT_S if loading else self._deadline_s)
                case Begun() | Finished():
                    known.add(message)

    def _started(self) -> Connection:
        """Connection to a process that is ready for a job."""
        if self._process is not None and self._process.poll() is not None:
            _log.warning("the process for participants was ended by %s while it had nothing to do", self._end())
        if self._messages is not None:
            return self._messages
        self._process, self._messages = start_process()
        levels = {name: logging.getLogger(name).level for name in _LOGGERS}
        try:
            self._messages.send(Setup(self._load_engine, levels))
            message = self._next(time.monotonic() + START_LIMIT_S, loading=True)
        except (EOFError, ConnectionError):
            by = self._end(patience_s=_DYING_S)
            raise InfrastructureError(
                f"Expected a process for participants to start, but it was ended by {by}. Give the job more memory."
            ) from None
        if not isinstance(message, Ready):
            self._end()
            raise message.error if isinstance(message, Failed) else TypeError(f"unexpected {message!r}")
        self._model_id = message.model_id
        return self._messages

    def _next(self, limit: float, *, loading: bool) -> object:
        """Next message that is no log record.

        Raises
        ------
        _Late
            When there is none before `limit`.
        """
        assert self._messages is not None  # noqa: S101 - for the type checker
        while True:
            ready = wait([self._signals, self._messages], max(0.0, limit - time.monotonic()))
            if self._signals in ready:
                name = signal.Signals(self._signals.recv(1)[0]).name
                raise Stopped(f"The job was asked to stop by {name}; run it again to go on where it was.")
            if not ready and loading:
                raise InfrastructureError(f"Expected the models to be loaded within {START_LIMIT_S:g} s; try again.")
            if not ready:
                raise _Late
            message = self._messages.recv()
            if not isinstance(message, logging.LogRecord):
                return message
            logger = logging.getLogger(message.name)
            if logger.isEnabledFor(message.levelno):
                logger.handle(message)

    def _timed_out(self, job: Job, known: Known) -> str:
        open_tasks = [task.id for task in job.tasks if known.begun and task.id not in known.begun.kept]
        current = next((name for name in open_tasks if name not in known.finished), None)
        doing = f"at {current}" if current else "at reading its scans and records"
        reason = (
            f"deadline: not finished within {self._deadline_s:g} s, {doing}; "
            "give it longer (deadline_s in the configuration) or exclude it"
        )
        _log.warning("sub-%s: %s", job.participant, reason)
        return give_up(job, known, model_id=self._model_id or "", status="timeout", reason=reason)

    def _interrupted(self, job: Job, known: Known, error: InfrastructureError) -> None:
        if known.begun is not None:  # before that nothing was touched, and an earlier record stands
            reason = f"{error.code}: {error.message}"
            give_up(job, known, model_id=known.begun.model_id, status="interrupted", reason=reason)

    def _end(self, *, patience_s: float = 0.0) -> str:
        """End the process, whatever it does, and say what ended it; one that is dying already is waited for."""
        process, self._process = self._process, None
        if self._messages is not None:
            self._messages.close()
            self._messages = None
        if process is None:
            return "nobody"
        try:
            code = process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def _note(self, number: int, _frame: FrameType | None) -> None:
        try:
            self._signal_sent.send(bytes([number]))
        except BlockingIOError:
            return  # asked more than often enough


def start_process() -> tuple[subprocess.Popen[bytes], Connection]:
    """Start the process of `vp_engine.cohort.worker`; it and the connection to it."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - this very Python, on code of ours
            [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno()), str(os.getpid())],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
    return process, Connection(ours.detach())
