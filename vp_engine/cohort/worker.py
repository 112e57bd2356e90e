"""The process in which participants are analysed, one after another; `supervisor` starts, watches and ends it.

It reads jobs from a socket that it is given and answers with messages, and does nothing else: locks, records of
participants who are given up, and exit codes are the parent's. It ends when the parent does.
"""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from typing import Any

from vp_engine.cohort.engine import Engine, Models
from vp_engine.cohort.participant import analyse_participant

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class Setup:
    """What a process is told first.

    Attributes
    ----------
    load_engine : callable
        Verifies the weights and gives the engine; a function of a module, as it is sent to another process.
    log_levels : mapping of str to int
        Name of a logger → its level, as in the parent.
    """

    load_engine: Callable[[], Engine]
    log_levels: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Ready:
    """The weights are verified."""

    model_id: str


@dataclass(frozen=True, slots=True)
class Loading:
    """The models are being loaded, or are loaded: time that is not the participant's."""

    ended: bool


@dataclass(frozen=True, slots=True)
class Done:
    """The record is written; its hash."""

    sha256: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The analysis, or the start, raised this."""

    error: Exception


def main(descriptor: int, parent: int) -> None:
    """Serve a parent that has given this process one end of a socket, until the parent closes the other."""
    _end_with(parent)
    # Ctrl-C and batch systems signal every process of a job; what becomes of this one the parent decides
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()
    serve(Connection(descriptor))


def serve(connection: Connection) -> None:
    """Answer jobs with messages until there are no more."""
    lock = threading.Lock()

    def send(message: object) -> None:
        with lock:  # log records may come from other threads
            connection.send(message)

    try:
        try:
            setup: Setup = connection.recv()
            _log_to(send, setup.log_levels)
            engine = _told(setup.load_engine(), send)
        except (EOFError, ConnectionError):
            raise
        except Exception as error:  # noqa: BLE001 - told to the parent, which knows what to do about it
            send(Failed(portable(error)))
            return
        send(Ready(engine.model_id))
        while True:
            job = connection.recv()
            try:
                send(Done(analyse_participant(job, engine=engine, tell=send)))
            except Exception as error:  # noqa: BLE001 - as above
                send(Failed(portable(error)))
    except (EOFError, ConnectionError):
        return  # the parent has what it wanted, or is gone


def _told(engine: Engine, send: Callable[[object], None]) -> Engine:
    """The same engine, which says when it loads its models."""

    @cache
    def load() -> Models:
        send(Loading(ended=False))
        models = engine.load()
        send(Loading(ended=True))
        return models

    return replace(engine, load=load)


class _Sent(QueueHandler):
    """Log records for the parent."""

    def enqueue(self, record: logging.LogRecord) -> None:
        self.queue(record)  # type: ignore[operator]  # anything that takes records


def _log_to(send: Callable[[object], None], levels: Mapping[str, int]) -> None:
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.getLogger().handlers[:] = [_Sent(send)]  # type: ignore[arg-type]


def portable(error: Exception) -> Exception:
    """Give the error with its traceback as a note, or one of a plain type that says the same if it cannot be sent."""
    error.add_note("".join(traceback.format_exception(error)))
    error.__traceback__ = None
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - bytes made here
    except Exception:  # noqa: BLE001 - exceptions of other libraries raise anything
        plain = RuntimeError(f"{type(error).__name__}: {error}")
        plain.add_note(error.__notes__[-1])
        return plain
    return error


def _end_with(parent: int) -> None:
    """Have the kernel end this process when its parent ends, however that comes about."""
    prctl: Any = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)
