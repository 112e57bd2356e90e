"""How a process of a job talks to its parent: errors and log records that can be sent, and an end with it."""

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
from contextvars import ContextVar
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from typing import Any

CURRENT: ContextVar[str | None] = ContextVar("participant", default=None)
"""Participant in work; goes along with log records as their attribute `participant`."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

Send = Callable[[object], None]


def begin(parent: int) -> None:
    """Leave signals to the parent, and end when it does."""
    end_with(parent)
    # Ctrl-C and batch systems signal every process of a job; what becomes of this one the parent decides
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()


def end_with(parent: int) -> None:
    """Have the kernel end this process when its parent ends, however that comes about."""
    prctl: Any = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def sender(connection: Connection) -> Send:
    """A function that sends messages, from any thread."""
    lock = threading.Lock()

    def send(message: object) -> None:
        with lock:
            connection.send(message)

    return send


def log_to(send: Send, levels: Mapping[str, int]) -> None:
    """Send log records to the parent, from loggers with the levels it has."""
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


class _Sent(QueueHandler):
    """Log records for the parent."""

    def enqueue(self, record: logging.LogRecord) -> None:
        record.participant = CURRENT.get()
        self.queue(record)  # type: ignore[operator]  # anything that takes records
