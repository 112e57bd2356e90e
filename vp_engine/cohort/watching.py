"""What those who wait for a job can see: a log of each participant, and how fast the job goes on."""

from __future__ import annotations

import logging
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import pyarrow.compute as pc

from vp_engine.cohort.analyse import Analyse, Step
from vp_engine.cohort.messages import Computed
from vp_engine.cohort.participant import Job
from vp_engine.cohort.records import task_id
from vp_engine.cohort.tasks import shard_number
from vp_engine.errors import TableError
from vp_engine.tables.parquet import iterate_table, read_table

REMEMBERED = 20
"""Participants finished last, from which the speed is taken; those that are only kept go by in no time."""

_log = logging.getLogger(__name__)


class Pace:
    """How many of the participants of a job are done, and how long the others will take.

    Parameters
    ----------
    total : int
        Participants.
    clock : callable, optional
        Seconds.
    """

    def __init__(self, total: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self.done = 0
        self._clock = clock
        self._ends = deque([clock()], maxlen=REMEMBERED + 1)
        self._seconds = self._computing_s = 0.0

    def add(self, computed: Computed | None = None) -> None:
        """Take note of a participant that is done, and of how long models computed for it."""
        self.done += 1
        self._ends.append(self._clock())
        if computed is not None:
            self._seconds += computed.seconds
            self._computing_s += computed.computing_s

    @property
    def per_minute(self) -> float:
        """Participants per minute; infinite when they took no time, 0 before the first."""
        spent = self._ends[-1] - self._ends[0]
        return 60 * (len(self._ends) - 1) / spent if spent else float("inf") if self.done else 0.0

    @property
    def computing(self) -> float:
        """Share of the time in which models computed, since they are loaded; 0 when nothing was computed."""
        return self._computing_s / self._seconds if self._computing_s else 0.0

    def __str__(self) -> str:
        """One line for a person."""
        text = f"{self.done} of {self.total} participants"
        if not self.done:
            return text
        left = (self.total - self.done) / self.per_minute
        text = f"{text}, {self.per_minute:.3g} per minute, " + (f"about {duration(left)} left" if left else "all done")
        return f"{text}, models at work for {self.computing:.0%} of the time" if self.computing else text


def duration(minutes: float) -> str:
    """A time to wait, as precise as it can be meant.

    >>> duration(0.2), duration(12.4), duration(200), duration(5000)
    ('1 minute', '12 minutes', '3.3 hours', '3.5 days')
    """
    if minutes < 90:
        whole = max(1, round(minutes))
        return f"{whole} minute{'' if whole == 1 else 's'}"
    return f"{minutes / 60:.1f} hours" if minutes < 48 * 60 else f"{minutes / 1440:.1f} days"


def watched(analyse: Analyse, pace: Pace, tell: Callable[[Pace], None]) -> Analyse:
    """The same analysis, which keeps a log of each participant and tells its pace after each.

    Parameters
    ----------
    analyse : callable
        As for `analyse_shard`.
    pace : Pace
        Of the job.
    tell : callable
        Is given the pace.
    """

    def steps(jobs: Sequence[Job]) -> Generator[Step]:
        under_way: dict[str, SubjectLog] = {}
        watched_steps = analyse(jobs)
        try:
            for step in watched_steps:
                job, name = step.job, step.job.participant
                if step.ended is None:
                    if name not in under_way:  # else it is begun again
                        path = subject_log_path(job.output, job.tasks[0].dataset, name)
                        under_way[name] = SubjectLog(path, name)
                    yield step
                    continue
                log = under_way.pop(name)
                for line in _outcomes(job):
                    log.note(line)
                log.close("" if isinstance(step.ended, str) else _told(step.ended))
                if isinstance(step.ended, str):
                    pace.add(step.computed)
                    tell(pace)
                yield step
        finally:
            watched_steps.close()
            for log in under_way.values():
                log.close("not finished")

    return steps


def participants_of(output: Path, dataset: str, shard: str, only: Sequence[str] = ()) -> int:
    """Number of participants of a shard of the plan, or of those of them that are named.

    Raises
    ------
    TableError
        If the plan is missing or damaged.
    """
    found: set[str] = set()
    for table in iterate_table(output / "plan.parquet", "plan", columns=("dataset", "participant", "shard")):
        own = pc.and_(pc.equal(table.column("dataset"), dataset), pc.equal(table.column("shard"), shard_number(shard)))
        found.update(pc.unique(table.filter(own).column("participant")).to_pylist())
    return len(found & set(only)) if only else len(found)


def subject_log_path(output: Path, dataset: str, participant: str) -> Path:
    """Where the log of a participant lies."""
    return output / "logs" / dataset / f"sub-{participant}.log"


class SubjectLog(logging.Handler):
    """Keeps what is logged of a participant in a file of its own too, after what the file has.

    A log that cannot be written costs nothing but itself.

    Parameters
    ----------
    path : Path
    participant : str
        Records about others are left out; those that name nobody are kept.
    """

    def __init__(self, path: Path, participant: str) -> None:
        super().__init__()
        self.setFormatter(_Lines())
        self._participant = participant
        self._file: IO[str] | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            _log.warning("no log in %s: %s", path, error.strerror)
        logging.getLogger().addHandler(self)
        self.note("begun")

    def note(self, text: str) -> None:
        """Add a line of its own."""
        self.handle(logging.LogRecord(__name__, logging.INFO, __file__, 0, text, None, None))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; on a full disk it is left out, which those tell who write what matters."""
        if self._file is None or getattr(record, "participant", None) not in (None, self._participant):
            return
        with suppress(OSError):
            self._file.write(f"{self.format(record)}\n")
            self._file.flush()

    def close(self, last: str = "") -> None:
        """Add a last line, if there is one, and close the file."""
        if last:
            self.note(last)
        logging.getLogger().removeHandler(self)
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        super().close()


class _Lines(logging.Formatter):
    """Time, level and message; further lines are indented, so that no text looks like a line of ours."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        lines = [record.getMessage(), *([self.formatException(record.exc_info)] if record.exc_info else [])]
        return f"{stamp} {record.levelname.lower()} " + "\n    ".join("\n".join(lines).splitlines())


def _told(error: Exception) -> str:
    return "not finished\n" + "".join(traceback.format_exception(error))


def _outcomes(job: Job) -> Iterator[str]:
    """A line for each prompt of the participant; none when there is no record."""
    columns = ("session", "prompt_id", "status", "seconds", "reason")
    try:
        rows = read_table(job.record / "runs.parquet", "runs", columns=columns).to_pylist()
    except (TableError, OSError):
        return
    for row in rows:
        spent = "" if row["seconds"] is None else f", {row['seconds']:g} s"
        reason = f": {row['reason']}" if row["reason"] else ""
        yield f"{task_id(row['session'], row['prompt_id']).removeprefix('/')} {row['status']}{spent}{reason}"
