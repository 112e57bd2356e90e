"""From a configuration and BIDS datasets to the plan: every prompt on every session, settled before anything runs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vp_engine.bids.dataset import Session, index_dataset
from vp_engine.bids.validate import validate_dataset
from vp_engine.cohort.choice import natural
from vp_engine.cohort.config import Config, DatasetConfig, PromptConfig
from vp_engine.cohort.lock import writing
from vp_engine.cohort.publish import publish_json
from vp_engine.errors import ConfigError
from vp_engine.tables.parquet import write_table

SMALL_COHORT = 200
"""Up to this many participants `auto` gives each its own job."""

SHARD_SIZE = 64
"""Participants per job of larger cohorts."""

_log = logging.getLogger(__name__)

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """What was planned.

    Attributes
    ----------
    participants, rows, settled, shards : int
        `settled` rows have their outcome already (`no_input`, `refused_input`).
    findings : mapping of str to int
        Dataset → findings of the BIDS validator and of the walk.
    """

    participants: int
    rows: int
    settled: int
    shards: int
    findings: Mapping[str, int]


def write_plan(config: Config, output: Path) -> PlanSummary:
    """Index the datasets and write `plan.parquet`, `plan.shards.json` and `validation/<dataset>.json`.

    Parameters
    ----------
    config : Config
    output : Path
        Output directory; made when absent.

    Raises
    ------
    ConfigError
        If a dataset cannot be read at all.
    OutputInUse
        If another process writes to the directory.
    """
    rows: list[Row] = []
    findings: dict[str, int] = {}
    with writing(output, "index", alone=True):
        memory = output / "records" / "shards.json"
        known = _read_shards(memory)
        shards: dict[str, dict[str, int]] = {}
        for dataset in config.datasets:
            sessions, findings[dataset.name] = _index(dataset, output)
            participants = sorted({session.participant for session in sessions})
            shards[dataset.name] = assign_shards(
                participants, size=config.subjects_per_job, known=known.get(dataset.name, {})
            )
            rows += plan_rows(dataset.name, sessions, config.prompts, shards[dataset.name])
        publish_json(memory, shards)
        write_table(output / "plan.parquet", "plan", rows, metadata={})
        names = {name: sorted({shard_name(number) for number in of.values()}) for name, of in shards.items()}
        publish_json(output / "plan.shards.json", names)
    return PlanSummary(
        participants=sum(map(len, shards.values())),
        rows=len(rows),
        settled=sum(row["status"] is not None for row in rows),
        shards=sum(map(len, names.values())),
        findings=findings,
    )


def plan_rows(
    dataset: str, sessions: Sequence[Session], prompts: Sequence[PromptConfig], shards: Mapping[str, int]
) -> list[Row]:
    """Rows of the table `plan` for one dataset: every prompt for every session or participant."""
    rows: list[Row] = []
    by_participant: dict[str, list[Session]] = {}
    for session in sessions:
        by_participant.setdefault(session.participant, []).append(session)
    for participant, own in by_participant.items():
        for prompt in prompts:
            groups = [own] if prompt.scope == "participant" else [[session] for session in own]
            for group in groups:
                row = _row(dataset, prompt, group)
                rows.append(row | {"participant": participant, "shard": shards[participant]})
    return rows


def assign_shards(participants: Sequence[str], *, size: int | None, known: Mapping[str, int]) -> dict[str, int]:
    """Number of the job of each participant; who has one keeps it, newcomers come in new jobs after the last.

    Parameters
    ----------
    participants : sequence of str
        Sorted labels.
    size : int or None
        Participants per job; None takes 1 for small cohorts and `SHARD_SIZE` for large ones.
    known : mapping of str to int
        Earlier assignment.

    Examples
    --------
    >>> assign_shards(["01", "02", "03"], size=2, known={"02": 0})
    {'02': 0, '01': 1, '03': 1}
    """
    if size is None:
        size = 1 if len(participants) <= SMALL_COHORT else SHARD_SIZE
    kept = {participant: known[participant] for participant in participants if participant in known}
    start = max(known.values(), default=-1) + 1
    newcomers = [participant for participant in participants if participant not in kept]
    return kept | {participant: start + index // size for index, participant in enumerate(newcomers)}


def shard_name(number: int) -> str:
    """Name of a shard in file names and rules.

    >>> shard_name(3)
    'shard-00003'
    """
    return f"shard-{number:05d}"


def _index(dataset: DatasetConfig, output: Path) -> tuple[list[Session], int]:
    if not dataset.path.is_dir():
        raise ConfigError(f"datasets.{dataset.name}.path: expected a BIDS dataset, got no folder at {dataset.path}")
    findings = validate_dataset(dataset.path)
    sessions = [session for session in index_dataset(dataset.path) if _wanted(session.participant, dataset)]
    if not sessions:
        raise ConfigError(
            f"datasets.{dataset.name}: expected folders sub-<label> in {dataset.path}, found none that is asked for"
        )
    own = [finding for session in sessions for finding in session.findings]
    documents = [_finding(finding) for finding in [*findings, *own]]
    publish_json(output / "validation" / f"{dataset.name}.json", documents)
    errors = sum(document.get("severity") == "error" for document in documents)
    _log.info("%s: %d findings of the validator, %d of them errors", dataset.name, len(documents), errors)
    return sessions, len(documents)


def _wanted(participant: str, dataset: DatasetConfig) -> bool:
    if dataset.participants is not None and participant not in dataset.participants:
        return False
    return participant not in dataset.exclude


def _row(dataset: str, prompt: PromptConfig, sessions: Sequence[Session]) -> Row:
    alone = sessions[0] if prompt.scope == "session" else None
    scans = [
        {
            "session": session.session,
            "acquired": session.acquired,
            "days": session.days,
            "suffix": scan.suffix,
            "path": scan.path,
            "entities": "_".join(f"{name}-{value}" for name, value in scan.entities.items()),
        }
        for session in sorted(sessions, key=lambda s: natural(s.session or ""))
        for scan in sorted(session.scans, key=lambda s: (s.suffix, s.path))
        if not prompt.images or scan.suffix in prompt.images
    ]
    status, code, reason = _outcome(prompt, sessions, scans)
    return {
        "dataset": dataset,
        "session": alone.session if alone else None,
        "prompt_id": prompt.id,
        "prompt": prompt.text,
        "scope": prompt.scope,
        "images": list(prompt.images),
        "scans": scans if status is None else [],
        "status": status,
        "reason_code": code,
        "reason": reason,
        "acquired": alone.acquired if alone else None,
        "days": alone.days if alone else None,
    }


def _outcome(
    prompt: PromptConfig, sessions: Sequence[Session], scans: Iterable[Row]
) -> tuple[str | None, str | None, str | None]:
    if any(scans):
        return None, None, None
    refused = [finding for session in sessions for finding in session.findings]
    if refused:
        return "refused_input", refused[0].code, " ".join(finding.message for finding in refused)
    found = sorted({scan.suffix for session in sessions for scan in session.scans})
    wanted = " or ".join(prompt.images) or "an anatomical image"
    return "no_input", "no_fitting_scan", f"Expected {wanted}, found {', '.join(found) or 'no image'}."


def _finding(finding: Any) -> dict[str, Any]:
    return {name: getattr(finding, name) for name in finding.__dataclass_fields__}


def _read_shards(path: Path) -> dict[str, dict[str, int]]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # a new output directory; or damaged, and then all shards are numbered anew, which only costs time
    return document if isinstance(document, dict) else {}
