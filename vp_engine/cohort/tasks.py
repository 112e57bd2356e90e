"""The planned prompts of one job, with the scans each works on and the key of its result."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vp_engine import __version__
from vp_engine.cohort.choice import Choice, PlannedScan, choose
from vp_engine.cohort.records import task_id, task_key
from vp_engine.errors import ConfigError, InputRefused
from vp_engine.tables.parquet import read_rows
from vp_engine.volumes.intake import GateLimits, file_sha256


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a result rests on.

    Attributes
    ----------
    key : str
        Hash of question, scans, weights and version of the code: equal keys, equal results.
    input_sha256 : str or None
        Hash over the hashes of the images offered and of those read with them, in order of path; None when none
        could be read.
    """

    key: str
    input_sha256: str | None

    @property
    def record_id(self) -> str:
        """Short form of the key, for the rows."""
        return self.key[:16]


@dataclass(frozen=True, slots=True)
class Task:
    """One row of the plan.

    Attributes
    ----------
    dataset, participant : str
    session : str or None
        None without session folders, or when the prompt takes all sessions.
    prompt_id, prompt : str
    images : tuple of str
        Suffixes wanted, the preferred first; empty means all.
    scope : str
    choices : tuple of Choice
        The scans offered, sessions in time order.
    left_out : tuple of str
        Sessions of which nothing is offered, when the prompt takes all.
    status, reason : str or None
        The outcome when the plan settled it.
    """

    dataset: str
    participant: str
    session: str | None
    prompt_id: str
    prompt: str
    images: tuple[str, ...]
    scope: str
    choices: tuple[Choice, ...]
    left_out: tuple[str, ...]
    status: str | None
    reason: str | None

    @property
    def id(self) -> str:
        """Name within the participant."""
        return task_id(self.session, self.prompt_id)

    @property
    def paths(self) -> set[str]:
        """Every scan the result may rest on."""
        return {scan.path for choice in self.choices for scan in (choice.scan, *choice.others)}

    def fingerprint(
        self, scans: Mapping[str, str | None], model_id: str, *, limits: GateLimits | None = None
    ) -> Fingerprint:
        """Hash everything that decides the result: question, scans, weights, version of the code, limits of the gate.

        Parameters
        ----------
        scans : mapping of str to str
            Path → sha256, from `scan_hashes`.
        model_id : str
        limits : GateLimits, optional
        """
        hashes = [scans[path] for path in sorted(self.paths)]
        gate = asdict(limits or GateLimits())
        key = task_key(**asdict(self), hashes=hashes, model_id=model_id, version=__version__, gate=gate)
        known = [sha for sha in hashes if sha is not None]
        return Fingerprint(key, hashlib.sha256("".join(known).encode()).hexdigest() if known else None)


def read_tasks(output: Path, dataset: str, shard: int | None = None) -> dict[str, list[Task]]:
    """Tasks of a dataset, or of one of its shards, by participant in the order of the plan.

    Raises
    ------
    ConfigError
        If the plan has no such shard.
    TableError
        If the plan is missing or damaged.
    """
    where: dict[str, str | int] = {"dataset": dataset} | ({} if shard is None else {"shard": shard})
    tasks: dict[str, list[Task]] = {}
    for row in read_rows(output / "plan.parquet", "plan", where=where).to_pylist():
        tasks.setdefault(row["participant"], []).append(_task(row))
    if not tasks:
        what = dataset if shard is None else f"{dataset}, shard {shard}"
        raise ConfigError(f"Expected a plan for {what} in {output / 'plan.parquet'}, got none; run `vp index` first")
    return tasks


def shard_name(number: int) -> str:
    """Name of a shard in file names and rules.

    >>> shard_name(3)
    'shard-00003'
    """
    return f"shard-{number:05d}"


def shard_number(name: str) -> int:
    """Number of a shard from its name.

    Raises
    ------
    ConfigError
        If it is no name of a shard.

    >>> shard_number("shard-00003")
    3
    """
    match = re.fullmatch(r"shard-([0-9]{1,9})", name)
    if match is None:
        raise ConfigError(f"Expected a shard such as {shard_name(0)}, got {name!r}; plan.shards.json lists them")
    return int(match[1])


def scan_hashes(tasks: Iterable[Task], root: Path) -> dict[str, str | None]:
    """Path → sha256 of every scan the tasks may use, each read once; None for one that cannot be read."""
    paths = {path for task in tasks for path in task.paths}
    return {path: _sha256(root / path, root) for path in sorted(paths)}


def run_row(task: Task, fingerprint: Fingerprint, model_id: str) -> dict[str, Any]:
    """Row of `runs` for a task of which nothing is known yet but what was asked."""
    nothing: dict[str, Any] = dict.fromkeys(("status", "reason", "steps", "program", "seconds", "device"))
    return nothing | {
        "dataset": task.dataset,
        "participant": task.participant,
        "session": task.session,
        "prompt_id": task.prompt_id,
        "prompt": task.prompt,
        "input_sha256": fingerprint.input_sha256,
        "model_id": model_id,
        "vp_engine_version": __version__,
        "record_id": fingerprint.record_id,
    }


def _task(row: Mapping[str, Any]) -> Task:
    scans, streams = ([PlannedScan(**scan) for scan in row[column]] for column in ("scans", "streams"))
    reason = None if row["status"] is None else f"{row['reason_code']}: {row['reason']}"
    return Task(
        dataset=row["dataset"],
        participant=row["participant"],
        session=row["session"],
        prompt_id=row["prompt_id"],
        prompt=row["prompt"],
        images=tuple(row["images"]),
        scope=row["scope"],
        choices=tuple(choose(scans, tuple(row["images"]), beside=streams)),
        left_out=tuple(row["left_out"]),
        status=row["status"],
        reason=reason,
    )


def _sha256(path: Path, root: Path) -> str | None:
    try:
        return file_sha256(path, root=root)
    except InputRefused:
        return None  # the gate says so again when the image is asked for, and then it becomes a row
