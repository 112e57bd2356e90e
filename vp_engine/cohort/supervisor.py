"""Who watches the processes that analyse participants: they are ended at a deadline or by a signal, their fate told.

The parent loads no models. Whatever the processes do, be it hanging in a library, using up the memory or crashing,
costs the participant they worked on and no other. Several participants are under way at once: one is read ahead, one
computed, one written.
"""

from __future__ import annotations

import logging
import math
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Any, Self

from vp_engine.cohort.ahead import reader_count
from vp_engine.cohort.analyse import Step
from vp_engine.cohort.crew import Crew, Gone, Late, WakingClock
from vp_engine.cohort.engine import Engine
from vp_engine.cohort.messages import Computed, Done, Failed, Loading, Ready, Started, WorkerEnded
from vp_engine.cohort.participant import Begun, Finished, Job, Known, give_up
from vp_engine.errors import InfrastructureError

START_LIMIT_S = 1800.0
"""Longest that verifying the weights, and loading the models, may take."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that ask a job to stop."""

_WRITING_S = 60.0
_LAST_WORDS_S = 3.0
"""Longest that the writing of what is computed may take, when the worker was ended; when the job is asked to stop."""

_MOST_RESTARTS = 3

_log = logging.getLogger(__name__)


class Stopped(InfrastructureError):
    """A signal asked this job to stop."""

    default_code = "stopped"


@dataclass(slots=True, eq=False)
class _Flight:
    """A participant under way; the worker has begun with it when there is a limit."""

    job: Job
    known: Known = field(default_factory=Known)
    limit: float = math.inf
    loading: bool = False
    computed: Computed | None = None
    error: Exception | None = None

    @property
    def started(self) -> bool:
        return self.limit < math.inf


class Supervisor:
    """Analyses participants in processes of their own, as a context: ``with Supervisor(...) as analyse``.

    While the context is open, SIGTERM, SIGINT and SIGHUP are waited for along with the processes.

    Parameters
    ----------
    load_engine : callable
        Verifies the weights and gives the engine, in the process that computes; a function of a module, or a `partial`
        of one.
    deadline_s : float
        Longest that one participant may take, loading models not counted.
    """

    def __init__(self, load_engine: Callable[[], Engine], *, deadline_s: float) -> None:
        self._load_engine = load_engine
        self._deadline_s = deadline_s
        self._clock = WakingClock()
        self._crew: Crew | None = None
        self._model_id = ""
        self._flights: dict[str, _Flight] = {}
        self._waiting: deque[Job] = deque()
        self._restarts = 0
        self._most_flights = 2 + reader_count()
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
        """End the processes and give the signals back."""
        self._end()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._signals.close()
        self._signal_sent.close()

    def __call__(self, jobs: Sequence[Job]) -> Generator[Step]:
        """Analyse participants, of one dataset; say of each when it is begun and when it has ended.

        A participant that takes too long gets rows of status ``timeout``, one whose process is ended from outside rows
        of status ``interrupted`` and a `WorkerEnded` as its error; tasks it had finished are kept. When the iterator is
        closed, no process of it is left.

        Raises
        ------
        Stopped
            When a signal asks this job to stop.
        InfrastructureError, WeightsError
            When the processes cannot be started.
        """
        self._waiting = deque(jobs)
        try:
            while self._waiting or self._flights:
                yield from self._next()
        finally:
            self._end()

    def _next(self) -> Iterator[Step]:
        """Hand out what can be, wait for a message, and tell what follows from it."""
        crew = self._crew or self._started()
        while self._waiting and len(self._flights) < self._most_flights:
            job = self._waiting.popleft()
            self._flights[job.participant] = _Flight(job)
            crew.send(job)
        try:
            message = crew.receive(self._limit(), self._signals)
        except Late:
            yield from self._late()
        except Gone as gone:
            yield from self._gone(gone)
        else:
            yield from self._stopped() if message is None else self._heard(message)

    def _limit(self) -> float:
        return min((flight.limit for flight in self._flights.values()), default=math.inf)

    def _heard(self, message: object) -> Iterator[Step]:
        """Take note of a message, and tell what follows from it."""
        flight = self._flights.get(getattr(message, "participant", None) or "")
        if flight is None:
            return  # of a participant whose writing failed before all was computed
        match message:
            case Started():
                flight.limit = self._clock.now() + self._deadline_s
                yield Step(flight.job)
            case Loading(ended=ended):
                flight.loading = not ended
                flight.limit = self._clock.now() + (self._deadline_s if ended else START_LIMIT_S)
            case Begun() | Finished():
                flight.known.add(message)
            case Computed():
                flight.computed = message
                if flight.error is not None:
                    yield self._landed(flight, flight.error)
            case Done(sha256=sha256):
                yield self._landed(flight, sha256)
            case Failed(error=error, writing=True) if not (flight.computed or isinstance(error, InfrastructureError)):
                flight.error = error  # the worker is still at it, and watched until it is through
            case Failed(error=error):
                yield self._landed(flight, error)

    def _landed(self, flight: _Flight, ended: str | Exception) -> Step:
        del self._flights[flight.job.participant]
        return Step(flight.job, ended, flight.computed)

    def _started(self) -> Crew:
        """Processes that are ready for a job."""
        self._crew = crew = Crew(self._load_engine, self._clock)
        try:
            message = crew.receive(self._clock.now() + START_LIMIT_S, self._signals)
        except Late:
            self._end()
            raise InfrastructureError(
                f"Expected the weights to be verified within {START_LIMIT_S:g} s; try again."
            ) from None
        except Gone as gone:
            self._end()
            raise InfrastructureError(
                f"Expected the {gone.first} to start, but it was ended by {gone.by}. Give the job more memory."
            ) from None
        if message is None:
            self._end()
            raise self._asked_to_stop()
        if not isinstance(message, Ready):
            self._end()
            raise message.error if isinstance(message, Failed) else TypeError(f"unexpected {message!r}")
        self._model_id = message.model_id
        return crew

    def _late(self) -> Iterator[Step]:
        """The participant whose time is over is given up; of the others, those not written in time are begun again."""
        late = min(self._flights.values(), key=lambda flight: flight.limit)
        if late.loading:
            raise InfrastructureError(f"Expected the models to be loaded within {START_LIMIT_S:g} s; try again.")
        yield from self._without_worker(patience_s=_WRITING_S, late=late)
        if late.job.participant in self._flights:
            yield self._landed(late, self._timed_out(late))
        self._begin_again()

    def _gone(self, gone: Gone) -> Iterator[Step]:
        """The processes were ended by something else: who was worked on is told so, the others are begun again."""
        self._end()
        started = [flight for flight in self._flights.values() if flight.started]
        open_ones = [flight for flight in started if flight.computed is None] if gone.first == "worker" else started
        if not open_ones:
            self._restarts += 1
            _log.warning("the %s was ended by %s while it had nothing to do", gone.first, gone.by)
            if self._restarts > _MOST_RESTARTS:
                raise InfrastructureError(
                    f"Expected the {gone.first} to go on, but it was ended by {gone.by} each time."
                )
        else:
            flight = open_ones[0]
            ended = WorkerEnded(
                f"Expected the process that works on sub-{flight.job.participant} to go on, but it was ended by "
                f"{gone.by}; most often the memory is used up. Give the job more, then run it again."
            )
            self._interrupted(flight, ended)
            yield self._landed(flight, ended)
        self._begin_again()

    def _stopped(self) -> Iterator[Step]:
        """A signal: what is computed is written if that takes no time, and the others are told to be interrupted."""
        stop = self._asked_to_stop()
        yield from self._without_worker(patience_s=_LAST_WORDS_S)
        for flight in self._flights.values():
            self._interrupted(flight, stop)
        raise stop

    def _without_worker(self, *, patience_s: float, late: _Flight | None = None) -> Iterator[Step]:
        """End the worker, and have the writer finish what it was given, if it is not the writer that is late."""
        crew, self._crew = self._crew, None
        if crew is None:
            return
        until = self._clock.now() + patience_s
        crew.end_worker()
        try:
            while late is None or late.computed is None:
                message = crew.receive(until, self._signals)
                if message is None:
                    break  # asked to stop once more
                yield from self._heard(message)
        except (Late, Gone):
            return
        finally:
            crew.end()

    def _begin_again(self) -> None:
        """Participants that were under way go back to the head of the queue."""
        self._waiting.extendleft(reversed([flight.job for flight in self._flights.values()]))
        self._flights.clear()

    def _timed_out(self, flight: _Flight) -> str | WorkerEnded:
        known, job = flight.known, flight.job
        if known.begun is None and (job.record / "done.json").exists():
            return WorkerEnded(
                f"Expected the scans and the record of sub-{job.participant} to be read within {self._deadline_s:g} s; "
                "what is recorded of it stands. See whether its files can be read, then run it again."
            )
        open_tasks = [task.id for task in job.tasks if known.begun and task.id not in known.begun.kept]
        current = next((name for name in open_tasks if name not in known.finished), None)
        doing = f"at {current}" if current else "at reading its scans and records"
        reason = (
            f"deadline: not finished within {self._deadline_s:g} s, {doing}; "
            "give it longer (deadline_s in the configuration) or exclude it"
        )
        _log.warning("sub-%s: %s", job.participant, reason, extra={"participant": job.participant})
        return give_up(job, known, model_id=self._model_id, status="timeout", reason=reason)

    def _interrupted(self, flight: _Flight, error: InfrastructureError) -> None:
        known = flight.known
        if known.begun is not None:  # before that nothing was touched, and an earlier record stands
            reason = f"{error.code}: {error.message}"
            give_up(flight.job, known, model_id=known.begun.model_id, status="interrupted", reason=reason)

    def _end(self) -> None:
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.end()

    def _asked_to_stop(self) -> Stopped:
        name = signal.Signals(self._signals.recv(1)[0]).name
        return Stopped(f"The job was asked to stop by {name}; run it again to go on where it was.")

    def _note(self, number: int, _frame: FrameType | None) -> None:
        try:
            self._signal_sent.send(bytes([number]))
        except BlockingIOError:
            return  # asked more than often enough
