"""How far a run has come, and what to look at first, from plan, records, locks and logs; nothing is touched."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vp_engine.cohort.lock import Holder, holders
from vp_engine.cohort.records import read_done, record_folder, task_id
from vp_engine.cohort.tasks import shard_name
from vp_engine.cohort.verify import PLAN, refuse_other_folder
from vp_engine.cohort.watching import subject_log_path
from vp_engine.errors import InfrastructureError, TableError
from vp_engine.tables.confidence import LOOK_BELOW
from vp_engine.tables.parquet import iterate_table, read_table

LISTED = 5
"""Entries of each list of what to look at."""

WINDOW = 100
"""Participants finished last, from which the speed is taken."""

_TROUBLE = frozenset({"refused_input", "no_input", "failed", "timeout", "interrupted"})
"""Statuses that say something about the participant, not only about the prompt."""

_NOT_FITTED = "not fitted: "

Person = tuple[str, str]
"""Dataset and participant."""


@dataclass(frozen=True, slots=True)
class Running:
    """A job that analyses participants just now.

    Attributes
    ----------
    holder : Holder
    finished, participants : int
        Of its shard.
    current : str or None
        Participant whose log was written last: the one it works on.
    """

    holder: Holder
    finished: int
    participants: int
    current: str | None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why prompts were not answered.

    Attributes
    ----------
    status, code : str
    count : int
        Prompts on sessions.
    prompts : tuple of str
        Ids, the most frequent first.
    example : Person
    sentence : str
        What the example was told: what was expected, what was got, what to do.
    """

    status: str
    code: str
    count: int
    prompts: tuple[str, ...]
    example: Person
    sentence: str


@dataclass(frozen=True, slots=True)
class NotFitted:
    """Models of one statistic that were not fitted for one reason.

    Attributes
    ----------
    statistic_id : str
    models : int
    reason : str
    """

    statistic_id: str
    models: int
    reason: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.statistic_id}: {self.models} model{'' if self.models == 1 else 's'} not fitted: {self.reason}"


@dataclass(slots=True)
class Status:
    """State of an output directory.

    Attributes
    ----------
    participants, recorded : int
        Planned, and those of them of whom every planned prompt has an outcome.
    outdated : int
        Recorded before the plan was written last; looked at again when their job runs.
    prompts : int
        Rows of the plan.
    outcomes : dict of str to int
        Status → rows of the plan; those without an outcome are missing.
    running : list of Running
    others : list of Holder
        Who else writes, such as `collect`, and who no longer shows that it lives.
    per_minute : float or None
        Participants; None when nothing runs or nobody has been finished yet.
    reasons : list of Reason
        The most frequent first.
    troubled : list of (Person, int)
        Participants with most prompts that came to nothing because of their images or of the run.
    unfinished : list of Person
        Begun, as their logs say, but without a record and with no job that works on them.
    uncollected : int or None
        Records that are newer than the tables; None without tables.
    lowest : list of dict
        Measurements of the lowest `qc_score` in the tables.
    doubtful : int
        Measurements with a `qc_score` below `LOOK_BELOW`.
    flags : dict of str to int
        Flag → participants, in the tables; the most frequent first.
    not_fitted : list of NotFitted
        In the order of the table `statistics`.
    """

    participants: int = 0
    recorded: int = 0
    outdated: int = 0
    prompts: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    running: list[Running] = field(default_factory=list)
    others: list[Holder] = field(default_factory=list)
    per_minute: float | None = None
    reasons: list[Reason] = field(default_factory=list)
    troubled: list[tuple[Person, int]] = field(default_factory=list)
    unfinished: list[Person] = field(default_factory=list)
    uncollected: int | None = None
    lowest: list[dict[str, Any]] = field(default_factory=list)
    doubtful: int = 0
    flags: dict[str, int] = field(default_factory=dict)
    not_fitted: list[NotFitted] = field(default_factory=list)

    @property
    def minutes_left(self) -> float | None:
        """Time until every participant is recorded, at the present speed; None when unknown."""
        return (self.participants - self.recorded) / self.per_minute if self.per_minute else None


@dataclass(slots=True)
class _Found:
    """What the records say."""

    shards: dict[tuple[str, str], list[str]]
    finished: dict[Person, float]
    causes: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    examples: dict[tuple[str, str], tuple[Person, str]] = field(default_factory=dict)
    trouble: Counter[Person] = field(default_factory=Counter)
    flagged: dict[str, set[Person]] = field(default_factory=dict)


def read_status(output: Path) -> Status:
    """Read plan, records, locks, logs and, where there are any, tables of an output directory.

    Parameters
    ----------
    output : Path

    Raises
    ------
    ConfigError
        If it is no output directory: it has no plan.
    TableError
        If the plan is damaged.
    InfrastructureError
        If the disk does not give a record that is there.
    """
    refuse_other_folder(output)
    status = Status()
    planned, shards = _plan(output)
    written = (output / PLAN).stat().st_mtime
    found = _Found(shards, {})
    status.participants, status.prompts = len(planned), sum(map(len, planned.values()))
    for person, tasks in planned.items():
        _count(status, found, output, person, tasks)
    status.recorded = len(found.finished)
    status.outdated = _outdated(output, found, written)
    _add_running(status, found, output)
    status.reasons = [_reason(output, cause, found) for cause in _frequent(found.causes)]
    status.troubled = sorted(found.trouble.items(), key=lambda entry: (-entry[1], entry[0]))[:LISTED]
    _add_tables(status, found, output)
    status.not_fitted = read_not_fitted(output)
    return status


def read_not_fitted(output: Path) -> list[NotFitted]:
    """Models without estimates, by statistic and reason; none when there is no table, or it is being replaced."""
    columns = ("statistic_id", "target", "measure", "analysis", "method")
    try:
        rows = read_table(output / "tables" / "statistics", "statistics", columns=columns).to_pylist()
    except (TableError, OSError):
        return []
    models: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    for row in rows:
        if row["method"].startswith(_NOT_FITTED):
            # up to where the participants left out are listed, who differ from model to model
            reason = row["method"].removeprefix(_NOT_FITTED).partition("; ")[0]
            model = row["target"], row["measure"], row["analysis"]
            models.setdefault((row["statistic_id"], reason), set()).add(model)
    return [NotFitted(statistic, len(of), reason) for (statistic, reason), of in models.items()]


def _plan(output: Path) -> tuple[dict[Person, list[str]], dict[tuple[str, str], list[str]]]:
    """Tasks of each participant, and participants of each shard of a dataset."""
    planned: dict[Person, list[str]] = {}
    shards: dict[tuple[str, str], dict[str, None]] = {}
    columns = ("dataset", "participant", "session", "prompt_id", "shard")
    for table in iterate_table(output / PLAN, "plan", columns=columns):
        values = (table.column(name).to_pylist() for name in columns)
        for dataset, participant, session, prompt_id, shard in zip(*values, strict=True):
            planned.setdefault((dataset, participant), []).append(task_id(session, prompt_id))
            shards.setdefault((dataset, shard_name(shard)), {})[participant] = None
    return planned, {shard: list(participants) for shard, participants in shards.items()}


def _count(status: Status, found: _Found, output: Path, person: Person, tasks: list[str]) -> None:
    """Take note of the record of one participant."""
    path = record_folder(output, *person) / "done.json"
    done = read_done(path)
    recorded: Mapping[str, Any] = {} if done is None else done["tasks"]
    for task in tasks:
        entry = recorded.get(task)
        if entry is None:
            continue
        status.outcomes[entry["status"]] = status.outcomes.get(entry["status"], 0) + 1
        if entry["status"] == "ok":
            continue
        cause = entry["status"], entry.get("reason") or "unknown"
        found.causes.setdefault(cause, Counter())[task.partition("/")[2]] += 1
        found.examples.setdefault(cause, (person, task))
        if entry["status"] in _TROUBLE:
            found.trouble[person] += 1
    if all(task in recorded for task in tasks):
        found.finished[person] = _time_of(path) or 0.0


def _outdated(output: Path, found: _Found, written: float) -> int:
    """Participants recorded before the plan was written, whose job has not looked at them since."""
    number = 0
    for (dataset, shard), participants in found.shards.items():
        receipt = _time_of(output / "records" / dataset / f"{shard}.json")
        if receipt is None or receipt < written:
            own = (found.finished.get((dataset, participant)) for participant in participants)
            number += sum(finished is not None and finished < written for finished in own)
    return number


def _add_running(status: Status, found: _Found, output: Path) -> None:
    jobs = {f"{dataset}.{shard}": (dataset, shard) for dataset, shard in found.shards}
    busy: set[Person] = set()
    for holder in holders(output):
        if holder.part not in jobs or not holder.alive:
            status.others.append(holder)
            continue
        dataset, _ = shard = jobs[holder.part]
        own = found.shards[shard]
        busy |= {(dataset, participant) for participant in own}
        logged, current = max(((_log_time(output, dataset, one), one) for one in own), default=(0.0, None))
        finished = sum((dataset, participant) in found.finished for participant in own)
        status.running.append(Running(holder, finished, len(own), current if logged else None))
    if status.running:
        status.per_minute = _speed(sorted(found.finished.values())[-WINDOW:])
    for dataset, participants in ((key[0], own) for key, own in sorted(found.shards.items())):
        for participant in participants:
            person = dataset, participant
            if person not in found.finished and person not in busy and _log_time(output, *person):
                status.unfinished.append(person)


def _speed(finished: list[float]) -> float | None:
    """Participants per minute up to now."""
    if len(finished) < 2:
        return None
    minutes = (max(time.time(), finished[-1]) - finished[0]) / 60
    return (len(finished) - 1) / minutes if minutes > 0 else None


def _frequent(causes: Mapping[tuple[str, str], Counter[str]]) -> list[tuple[str, str]]:
    return sorted(causes, key=lambda cause: (-causes[cause].total(), cause))[: 2 * LISTED]


def _reason(output: Path, cause: tuple[str, str], found: _Found) -> Reason:
    person, task = found.examples[cause]
    prompts = sorted(found.causes[cause], key=lambda prompt: (-found.causes[cause][prompt], prompt))
    sentence = _sentence(output, person, task)
    return Reason(*cause, found.causes[cause].total(), tuple(prompts), person, sentence)


def _sentence(output: Path, person: Person, task: str) -> str:
    """What a participant was told about one task; empty when its record is being written anew."""
    try:
        path = record_folder(output, *person) / "runs.parquet"
        rows = read_table(path, "runs", columns=("session", "prompt_id", "reason")).to_pylist()
    except (TableError, OSError):
        return ""
    reasons = [row["reason"] for row in rows if task_id(row["session"], row["prompt_id"]) == task]
    return (reasons[0] or "").partition(": ")[2] if reasons else ""


def _add_tables(status: Status, found: _Found, output: Path) -> None:
    """What the collected tables say of the delineations; nothing when there are none, or they are being replaced."""
    folder = output / "tables" / "measurements"
    times = list(filter(None, (_time_of(path) for path in folder.rglob("part-*.parquet"))))
    if not times:
        return
    status.uncollected = sum(finished > min(times) for finished in found.finished.values())
    try:
        for table in _measured(folder):
            _add_measured(status, found, table)
    except (TableError, OSError):
        status.uncollected, status.lowest, status.doubtful = None, [], 0
        return
    ordered = sorted(found.flagged.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    status.flags = {flag: len(people) for flag, people in ordered}


def _measured(folder: Path) -> Iterator[pa.Table]:
    columns = ("dataset", "participant", "session", "prompt_id", "target", "unit", "qc_score", "flags")
    return iterate_table(folder, "measurements", columns=columns, rows=1 << 18)


def _add_measured(status: Status, found: _Found, table: pa.Table) -> None:
    numbers = table.filter(pc.is_valid(table.column("unit")))  # the scores of words are others
    low = numbers.filter(pc.less(numbers.column("qc_score"), LOOK_BELOW)).drop_columns(["flags"])
    status.doubtful += low.num_rows
    if low.num_rows:
        order = [(name, "ascending") for name in ("qc_score", "dataset", "participant", "session", "target")]
        status.lowest += low.sort_by(order).slice(0, LISTED).to_pylist()
        status.lowest = sorted(status.lowest, key=lambda row: row["qc_score"])[:LISTED]
    flags = table.column("flags").combine_chunks()
    about = table.select(["dataset", "participant"]).take(pc.list_parent_indices(flags))
    names = pc.replace_substring_regex(pc.list_flatten(flags), ":.*", "")
    people = about.append_column("flag", names).group_by(["dataset", "participant", "flag"]).aggregate([])
    for row in people.to_pylist():
        found.flagged.setdefault(row["flag"], set()).add((row["dataset"], row["participant"]))


def _log_time(output: Path, dataset: str, participant: str) -> float:
    return _time_of(subject_log_path(output, dataset, participant)) or 0.0


def _time_of(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InfrastructureError(f"Expected to look at {path}, got: {error}. Repair the disk.") from error
