"""What those who wait for a job can see: a log of each participant, and how fast the job goes on."""

from __future__ import annotations

import logging
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow.compute as pc

from vp_engine.cohort.participant import Job
from vp_engine.cohort.records import task_id
from vp_engine.cohort.tasks import shard_number
from vp_engine.errors import TableError
from vp_engine.tables.parquet import iterate_table, read_table

REMEMBERED = 20
"""Participants finished last, from which the speed is taken; those that are only kept go by in no time."""

_log = logging.getLogger(__name__)

Analyse = Callable[[Job], str]


class Pace:
    """How many of the participants of a job are done, and how long the others will take.

    Parameters
    ----------
    total : int
        Participants.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)

    def add(self, seconds: float) -> None:
        """Take note of a participant that is done."""
        self.done += 1
        self._seconds.append(seconds)

    @property
    def per_minute(self) -> float:
        """Participants per minute; infinite when they took no time, 0 before the first."""
        if not self._seconds:
            return 0.0
        spent = sum(self._seconds)
        return 60 * len(self._seconds) / spent if spent else float("inf")

    def __str__(self) -> str:
        """One line for a person."""
        text = f"{self.done} of {self.total} participants"
        if not self.done:
            return text
        left = (self.total - self.done) / self.per_minute
        return f"{text}, {self.per_minute:.3g} per minute, " + (f"about {duration(left)} left" if left else "all done")


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

    def analysed(job: Job) -> str:
        started = time.monotonic()
        with subject_log(subject_log_path(job.output, job.tasks[0].dataset, job.participant)) as note:
            try:
                sha256 = analyse(job)
            except BaseException:
                note(f"not finished\n{traceback.format_exc()}")
                raise
            finally:
                for line in _outcomes(job):
                    note(line)
        pace.add(time.monotonic() - started)
        tell(pace)
        return sha256

    return analysed


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


@contextmanager
def subject_log(path: Path) -> Iterator[Callable[[str], None]]:
    """Keep what is logged meanwhile in a file too, after what it has; gives a function that adds a line of its own.

    A log that cannot be written costs nothing but itself.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _Quiet(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        _log.warning("no log in %s: %s", path, error.strerror)
        yield _nowhere
        return
    handler.setFormatter(_Lines())
    logging.getLogger().addHandler(handler)

    def note(text: str) -> None:
        handler.handle(logging.LogRecord(__name__, logging.INFO, __file__, 0, text, None, None))

    try:
        note("begun")
        yield note
    finally:
        logging.getLogger().removeHandler(handler)
        with suppress(OSError):
            handler.close()


class _Quiet(logging.FileHandler):
    """A log whose faults, such as a full disk, are told by those who write what matters."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - name of the base class
        """Leave the line out."""


class _Lines(logging.Formatter):
    """Time, level and message; further lines are indented, so that no text looks like a line of ours."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        lines = [record.getMessage(), *([self.formatException(record.exc_info)] if record.exc_info else [])]
        return f"{stamp} {record.levelname.lower()} " + "\n    ".join("\n".join(lines).splitlines())


def _nowhere(_: str) -> None:
    return


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
