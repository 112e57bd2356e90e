"""The planned prompts of one job, with the scans each works on and the key of its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from vp_engine import __version__
from vp_engine.cohort.choice import Choice, PlannedScan, choose
from vp_engine.cohort.records import task_id, task_key
from vp_engine.cohort.scans import Scans
from vp_engine.errors import ConfigError
from vp_engine.tables.parquet import read_table


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
    status: str | None
    reason: str | None

    @property
    def id(self) -> str:
        """Name within the participant."""
        return task_id(self.session, self.prompt_id)

    def key(self, scans: Scans, model_id: str) -> str:
        """Hash of everything that decides the result: question, scans, weights, version of the code."""
        offered = [asdict(choice) | {"sha256": scans.sha256(choice.scan.path)} for choice in self.choices]
        asked = {name: getattr(self, name) for name in ("dataset", "participant", "session", "prompt_id", "prompt")}
        settled = {"images": self.images, "scope": self.scope, "status": self.status, "reason": self.reason}
        return task_key(**asked, **settled, offered=offered, model_id=model_id, version=__version__)


def read_tasks(output: Path, dataset: str, shard: int | None = None) -> dict[str, list[Task]]:
    """Tasks of a dataset, or of one of its shards, by participant in the order of the plan.

    Raises
    ------
    ConfigError
        If the plan has no such shard.
    TableError
        If the plan is missing or damaged.
    """
    plan = read_table(output / "plan.parquet", "plan")
    wanted = pc.equal(plan.column("dataset"), dataset)
    if shard is not None:
        wanted = pc.and_(wanted, pc.equal(plan.column("shard"), shard))
    tasks: dict[str, list[Task]] = {}
    for row in plan.filter(wanted).to_pylist():
        tasks.setdefault(row["participant"], []).append(_task(row))
    if not tasks:
        where = dataset if shard is None else f"{dataset}, shard {shard}"
        raise ConfigError(f"Expected a plan for {where} in {output / 'plan.parquet'}, got none; run `vp index` first")
    return tasks


def _task(row: Mapping[str, Any]) -> Task:
    scans = (PlannedScan(**scan) for scan in row["scans"])
    reason = None if row["status"] is None else f"{row['reason_code']}: {row['reason']}"
    return Task(
        dataset=row["dataset"],
        participant=row["participant"],
        session=row["session"],
        prompt_id=row["prompt_id"],
        prompt=row["prompt"],
        images=tuple(row["images"]),
        scope=row["scope"],
        choices=tuple(choose(scans, tuple(row["images"]))),
        status=row["status"],
        reason=reason,
    )
