"""The process that computes: participants one after another, while others read ahead and another writes.

It reads jobs from a socket that it is given, sends what comes of them through a channel, and does nothing else: files
are the writer's, and locks, records of participants who are given up and exit codes are the parent's. It ends when the
parent does.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from multiprocessing.connection import Connection

from vp_engine.cohort.ahead import ReadAhead, reader_count
from vp_engine.cohort.engine import Engine, Models
from vp_engine.cohort.messages import Closed, Computed, Failed, Loading, Opened, Ready, Setup, Started
from vp_engine.cohort.outcome import Outcome
from vp_engine.cohort.participant import Job, compute
from vp_engine.cohort.stopwatch import Stopwatch, timed
from vp_engine.cohort.talking import CURRENT, Send, begin, log_to, portable, sender

_Jobs = queue.SimpleQueue[Job | Exception | None]


def main(descriptor: int, channel: int, parent: int) -> None:
    """Serve a parent through a socket, until it closes its end; what is computed goes through the channel."""
    begin(parent)
    serve(Connection(descriptor), Connection(channel))


def serve(connection: Connection, channel: Connection) -> None:
    """Answer jobs with messages until there are no more."""
    send = sender(connection)
    try:
        setup: Setup = connection.recv()
        log_to(send, setup.log_levels)
        with ReadAhead(reader_count(), foreign=(connection, channel)) as ahead:  # before there are threads
            try:
                engine = setup.load_engine()
            except Exception as error:  # noqa: BLE001 - told to the parent, which knows what to do about it
                send(Failed(None, portable(error)))
                return
            send(Ready(engine.model_id))
            _work(connection, channel, ahead=ahead, engine=engine, send=send)
    except (EOFError, ConnectionError):
        return  # the parent has what it wanted, or is gone


def _receive(connection: Connection, jobs: _Jobs, ask: Callable[[Job], None]) -> None:
    while True:
        try:
            job: Job = connection.recv()
            ask(job)
        except Exception as error:  # noqa: BLE001 - told to who waits for jobs
            jobs.put(None if isinstance(error, EOFError | OSError) else error)
            return
        jobs.put(job)


def _work(connection: Connection, channel: Connection, *, ahead: ReadAhead, engine: Engine, send: Send) -> None:
    stopwatch = Stopwatch()
    measured = _measured(engine, send, stopwatch)
    jobs: _Jobs = queue.SimpleQueue()
    ask = partial(ahead.ask, model_id=engine.model_id)
    threading.Thread(target=_receive, args=(connection, jobs, ask), daemon=True).start()
    while (job := jobs.get()) is not None:
        if isinstance(job, Exception):
            raise job
        CURRENT.set(job.participant)
        stopwatch.reset()
        send(Started(job.participant))
        try:
            _pass_on(_computed(job, ahead, measured, send), channel)
        except Exception as error:  # noqa: BLE001 - told to the parent, as above
            channel.send(Closed(job.participant, complete=False))
            send(Failed(job.participant, portable(error)))
        else:
            send(Computed(job.participant, stopwatch.passed, stopwatch.computing, stopwatch.stood))
            channel.send(Closed(job.participant, complete=True))
        finally:
            ahead.forget(job)


def _pass_on(messages: Iterator[object], channel: Connection) -> None:
    """Send messages, and keep none of them, as they hold images."""
    for message in messages:
        channel.send(message)


def _computed(job: Job, ahead: ReadAhead, engine: Engine, send: Send) -> Iterator[Opened | Outcome]:
    """What the writer is told of a participant."""
    prepared = ahead.prepared(job, engine.model_id)
    send(prepared.begun)
    yield Opened(job, prepared.begun, prepared.strays)
    yield from compute(job, prepared, engine, images=partial(ahead.images, job))


def _measured(engine: Engine, send: Send, stopwatch: Stopwatch) -> Engine:
    """The same engine, which says when it loads its models, and takes the time they compute."""

    @cache
    def load() -> Models:
        participant = str(CURRENT.get())
        send(Loading(participant, ended=False))
        with stopwatch.standing():
            models = timed(engine.load(), stopwatch)
        send(Loading(participant, ended=True))
        return models

    return replace(engine, load=load)
