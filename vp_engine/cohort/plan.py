"""From a configuration and BIDS datasets to the plan: every prompt on every session, settled before anything runs."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from vp_engine.bids.dataset import Session, index_dataset
from vp_engine.bids.findings import Finding
from vp_engine.bids.names import LABEL, suffix_of
from vp_engine.bids.text_tables import TextTable, read_participants, read_sessions
from vp_engine.bids.validate import validate_dataset
from vp_engine.cohort.choice import STREAM_SUFFIXES, natural, suffix_rank
from vp_engine.cohort.config import Config, DatasetConfig, PromptConfig
from vp_engine.cohort.lock import writing
from vp_engine.cohort.publish import publish_json
from vp_engine.cohort.tasks import shard_name
from vp_engine.errors import InputRefused
from vp_engine.tables.parquet import checked, file_metadata, publish_tables
from vp_engine.tables.schema import arrow_schema

SMALL_COHORT = 200
"""Up to this many participants `auto` gives each its own job."""

SHARD_SIZE = 64
"""Participants per job of larger cohorts."""

ROWS_AT_ONCE = 16_384
"""Rows of the plan that are made at a time, and about as many to a row group of its file."""

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
        If a dataset cannot be read at all, or a statistic cannot be fitted to what its tables say.
    OutputInUse
        If another process writes to the directory.
    """
    if config.statistics:
        # with it comes statsmodels, which takes seconds to load
        from vp_engine.cohort.statistics import check_statistics

        check_statistics(config)
    findings: dict[str, int] = {}
    counts: Counter[str] = Counter()
    with writing(output, "index", alone=True):
        memory = output / "records" / "shards.json"
        known = _read_shards(memory)
        shards: dict[str, dict[str, int]] = {}
        found: dict[str, list[Session]] = {}
        for dataset in config.datasets:
            found[dataset.name], findings[dataset.name] = _index(dataset, output)
            participants = sorted({session.participant for session in found[dataset.name]})
            shards[dataset.name] = assign_shards(
                participants, size=config.subjects_per_job, known=known.get(dataset.name, {})
            )
        publish_json(memory, shards)
        tables = _tables(config, found, shards, counts)
        publish_tables(output / "plan.parquet", tables, arrow_schema("plan"), file_metadata("plan", {}))
        names = {name: sorted({shard_name(number) for number in of.values()}) for name, of in shards.items()}
        publish_json(output / "plan.shards.json", names)
    return PlanSummary(
        participants=sum(map(len, shards.values())),
        rows=counts["rows"],
        settled=counts["settled"],
        shards=sum(map(len, names.values())),
        findings=findings,
    )


def _tables(
    config: Config,
    found: Mapping[str, Sequence[Session]],
    shards: Mapping[str, Mapping[str, int]],
    counts: Counter[str],
) -> Iterator[pa.Table]:
    """The plan from above, some participants at a time, as all rows of a large cohort would fill the memory."""
    together = config.streams == "together"
    for dataset, sessions in sorted(found.items()):
        for some in _some_participants(sessions, prompts=len(config.prompts)):
            rows = plan_rows(dataset, some, config.prompts, shards[dataset], together=together)
            counts.update(rows=len(rows), settled=sum(row["status"] is not None for row in rows))
            yield checked("plan", rows, where="plan")


def _some_participants(sessions: Sequence[Session], *, prompts: int) -> Iterator[list[Session]]:
    """The sessions of some participants at a time, for about `ROWS_AT_ONCE` rows."""
    some: list[Session] = []
    for _, own in groupby(sessions, key=lambda session: session.participant):
        some += own
        if len(some) * prompts >= ROWS_AT_ONCE:
            yield some
            some = []
    if some:
        yield some


def plan_rows(
    dataset: str,
    sessions: Sequence[Session],
    prompts: Sequence[PromptConfig],
    shards: Mapping[str, int],
    *,
    together: bool = False,
) -> list[Row]:
    """Rows of the table `plan` for one dataset: every prompt for every session or participant.

    Parameters
    ----------
    dataset : str
    sessions : sequence of Session
    prompts : sequence of PromptConfig
    shards : mapping of str to int
        Participant → number of the job.
    together : bool
        Whether the other contrasts of a session are read beside the image that a prompt works on.
    """
    rows: list[Row] = []
    by_participant: dict[str, list[Session]] = {}
    for session in sessions:
        by_participant.setdefault(session.participant, []).append(session)
    for participant, own in by_participant.items():
        for prompt in prompts:
            groups = [own] if prompt.scope == "participant" else [[session] for session in own]
            for group in groups:
                row = _row(dataset, prompt, group, beside=STREAM_SUFFIXES if together else ())
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


def _index(dataset: DatasetConfig, output: Path) -> tuple[list[Session], int]:
    findings = validate_dataset(dataset.path, warnings=True)
    found = index_dataset(dataset.path, participants=dataset.participants)
    sessions, odd = _with_announced(dataset, [s for s in found if s.participant not in dataset.exclude])
    findings += [finding for session in sessions for finding in session.findings] + odd
    findings = list(dict.fromkeys(findings))  # a table that cannot be read is found by all who read it
    publish_json(output / "validation" / f"{dataset.name}.json", [asdict(finding) for finding in findings])
    errors = sum(finding.severity == "error" for finding in findings)
    if findings:
        where = output / "validation" / f"{dataset.name}.json"
        _log.info("%s: %d errors and %d warnings in %s", dataset.name, errors, len(findings) - errors, where)
    return sessions, len(findings)


def _with_announced(dataset: DatasetConfig, sessions: Sequence[Session]) -> tuple[list[Session], list[Finding]]:
    """The sessions found, and those that only stand in a table: asked for, so they need a row; odd labels apart."""
    findings: list[Finding] = []
    known: dict[str, set[str | None]] = {}
    for session in sessions:
        known.setdefault(session.participant, set()).add(session.session)
    announced = []
    if dataset.participants is None:
        ids = _announced(partial(read_participants, dataset.path), "participant_id", "participants.tsv", findings)
        missing = sorted(set(ids) - known.keys() - set(dataset.exclude))
        announced += [Session(participant, None, scans=()) for participant in missing]
    for participant, labels in known.items():
        name = f"sub-{participant}/sub-{participant}_sessions.tsv"
        ids = _announced(partial(read_sessions, dataset.path, participant), "session_id", name, findings)
        announced += [Session(participant, label, scans=()) for label in sorted(set(ids) - labels, key=natural)]
    return sorted([*sessions, *announced], key=lambda s: (s.participant, natural(s.session or ""))), findings


def _announced(read: Callable[[], TextTable], column: str, name: str, findings: list[Finding]) -> list[str]:
    """Labels in a table that may stand in BIDS names; the others become findings."""
    try:
        labels = [str(label) for label in read().column(column)]
    except InputRefused as refusal:
        findings.append(Finding(refusal.code, "warning", refusal.message, name))
        return []
    for row, label in enumerate(labels, start=2):
        if LABEL.fullmatch(label) is None:
            # not quoted: it may be a name, and findings are kept beside the results
            message = f"{name}: expected a {column} of letters A-Z, a-z and digits only in row {row}; it is not used"
            findings.append(Finding("invalid_entity", "warning", message, name))
    return [label for label in labels if LABEL.fullmatch(label)]


def _row(dataset: str, prompt: PromptConfig, sessions: Sequence[Session], *, beside: Sequence[str]) -> Row:
    alone = sessions[0] if prompt.scope == "session" else None
    found = _scans(sessions)
    scans = [scan for scan in found if not prompt.images or scan["suffix"] in prompt.images]
    status, code, reason = _outcome(prompt, sessions)
    return {
        "dataset": dataset,
        "session": alone.session if alone else None,
        "prompt_id": prompt.id,
        "prompt": prompt.text,
        "scope": prompt.scope,
        "images": list(prompt.images),
        "scans": scans if status is None else [],
        "streams": [scan for scan in found if scan["suffix"] in beside] if status is None else [],
        "left_out": [] if status is not None else _left_out(sessions, scans),
        "status": status,
        "reason_code": code,
        "reason": reason,
        "acquired": alone.acquired if alone else None,
        "days": alone.days if alone else None,
    }


def _scans(sessions: Sequence[Session]) -> list[Row]:
    return [
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
    ]


def _left_out(sessions: Sequence[Session], scans: Sequence[Row]) -> list[str]:
    """Sessions of which the prompt can use nothing; `n/a`, which is no label, for images outside session folders."""
    used = {scan["session"] for scan in scans}
    return sorted({session.session or "n/a" for session in sessions if session.session not in used}, key=natural)


def _outcome(prompt: PromptConfig, sessions: Sequence[Session]) -> tuple[str | None, str | None, str | None]:
    refused = [finding for session in sessions for finding in _refusals(prompt, session)]
    if refused:
        return "refused_input", refused[0].code, " ".join(dict.fromkeys(finding.message for finding in refused))
    found = sorted({scan.suffix for session in sessions for scan in session.scans})
    if found and (not prompt.images or set(found) & set(prompt.images)):
        return None, None, None
    wanted = " or ".join(prompt.images) or "an anatomical image"
    return "no_input", "no_fitting_scan", f"Expected {wanted}, found {', '.join(found) or 'no image'}."


def _refusals(prompt: PromptConfig, session: Session) -> list[Finding]:
    """Errors about scans that the prompt would have used rather than those that are left."""
    left = [scan.suffix for scan in session.scans if not prompt.images or scan.suffix in prompt.images]
    best = min((suffix_rank(suffix, prompt.images) for suffix in left), default=None)

    def matters(finding: Finding) -> bool:
        if not finding.path.endswith((".nii", ".nii.gz")):
            return best is None  # about the whole session
        suffix = suffix_of(finding.path)
        wanted = not prompt.images or suffix in prompt.images
        return wanted and (best is None or suffix_rank(suffix, prompt.images) < best)

    return [finding for finding in session.findings if finding.severity == "error" and matters(finding)]


def _read_shards(path: Path) -> dict[str, dict[str, int]]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # a new output directory; or damaged, and then all shards are numbered anew, which only costs time
    return document if isinstance(document, dict) else {}
