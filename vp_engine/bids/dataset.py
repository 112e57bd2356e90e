"""Which anatomical scans a BIDS dataset holds, session by session, and which of them cannot be told apart safely."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vp_engine.bids.findings import Finding
from vp_engine.bids.names import LABEL, anatomical_suffixes, parse_name, suffix_of
from vp_engine.bids.session_times import SessionTime, session_times
from vp_engine.errors import ConfigError, InputRefused

_NOT_INDEXED = (
    r"^/(?!sub-)",
    r"^/sub-[^/]+/(?!anat$|anat/|ses-)",
    r"^/sub-[^/]+/ses-[^/]+/(?!anat$|anat/)",
    r"/anat/[^/]*(?<!\.nii)(?<!\.nii\.gz)$",
)
_MAX_PATTERN_PARTICIPANTS = 256  # a longer alternative costs more than indexing everybody
_NOT_MAGNITUDE = ("phase", "real", "imag")


@dataclass(frozen=True, slots=True)
class Scan:
    """One anatomical image.

    Attributes
    ----------
    path : str
        Relative to the dataset, with forward slashes.
    suffix : str
        ``T1w``, ``FLAIR`` ...
    entities : dict of str
        By short key (``run``, ``acq``, ``ce`` ...), without ``sub`` and ``ses``. A T1w with ``ce`` shows another
        contrast than one without.
    """

    path: str
    suffix: str
    entities: dict[str, str]


@dataclass(frozen=True, slots=True)
class Session:
    """One visit of one participant.

    Attributes
    ----------
    participant : str
        As in the folder name, without ``sub-``.
    session : str, optional
        Without ``ses-``; None in a dataset without sessions.
    scans : tuple of Scan
        Usable by name, sorted by path. Scans with an error among the findings are left out.
    acquired : str, optional
        ISO date.
    days : float, optional
        Since the baseline of the participant.
    findings : tuple of Finding
        Errors name the scans left out.
    """

    participant: str
    session: str | None
    scans: tuple[Scan, ...]
    acquired: str | None = None
    days: float | None = None
    findings: tuple[Finding, ...] = ()


def index_dataset(root: Path, *, participants: Collection[str] | None = None) -> list[Session]:
    """List the sessions of a dataset with their anatomical images.

    Nothing is opened but text tables, and nothing is written. A participant without any image is listed too,
    with no scans, so that no hole appears downstream.

    Parameters
    ----------
    root : Path
        Dataset folder; derivatives inside it are not looked at.
    participants : collection of str, optional
        Labels without ``sub-``; default: everybody.

    Returns
    -------
    list of Session
        Sorted by participant and session.

    Raises
    ------
    ConfigError
        If the folder does not exist or holds no participant, or a participant asked for is not in it.
    """
    if not root.is_dir():
        raise ConfigError(f"expected a BIDS dataset folder, got {root}; correct `datasets` in the configuration")
    labels = _labels(root, "sub-")
    if not labels:
        raise ConfigError(f"expected folders sub-<label> in {root}, found none; is this the top of a BIDS dataset?")
    chosen = _chosen(labels, participants, root)
    scans_by_session = _scans_by_session(root, None if participants is None else chosen)
    participant_twins = _twins(labels)
    sessions: list[Session] = []
    for participant in chosen:
        folder = root / f"sub-{participant}"
        session_labels = _labels(folder, "ses-")
        visits: list[str | None] = [*session_labels]
        if not session_labels or (participant, None) in scans_by_session:
            visits.insert(0, None)
        times = session_times(root, participant, visits)
        session_twins = _twins(session_labels)
        for visit in visits:
            findings = [
                *_label_findings(participant, "sub-", participant_twins),
                *(_label_findings(visit, "ses-", session_twins, f"sub-{participant}/") if visit is not None else ()),
            ]
            paths = [] if findings else scans_by_session[(participant, visit)]
            sessions.append(_session(participant, visit, paths=paths, findings=findings, time=times[visit]))
    return sessions


def _labels(folder: Path, prefix: str) -> list[str]:
    names = (entry.name for entry in folder.iterdir() if entry.name.startswith(prefix) and entry.is_dir())
    return sorted(name.removeprefix(prefix) for name in names)


def _chosen(labels: list[str], participants: Collection[str] | None, root: Path) -> list[str]:
    if participants is None:
        return labels
    known = set(labels)
    for participant in sorted(participants):
        if participant not in known:
            close = difflib.get_close_matches(participant, labels, n=3)
            hint = f"; close: {', '.join(close)}" if close else ""
            raise ConfigError(f"participant {participant!r} has no folder in {root}{hint}", code="unknown_participant")
    return sorted(set(participants))


def _scans_by_session(root: Path, participants: list[str] | None) -> defaultdict[tuple[str, str | None], list[str]]:
    """Paths of image files by participant and session folder, as pybids finds them."""
    from bids.layout import BIDSLayout, BIDSLayoutIndexer

    ignore = [re.compile(pattern) for pattern in _NOT_INDEXED]
    if participants is not None and len(participants) <= _MAX_PATTERN_PARTICIPANTS:
        wanted = "|".join(re.escape(participant) for participant in participants)
        ignore.append(re.compile(rf"^/sub-(?!(?:{wanted})(?:/|$))"))
    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False, ignore=ignore)
    layout = BIDSLayout(root, validate=False, indexer=indexer)
    found: defaultdict[tuple[str, str | None], list[str]] = defaultdict(list)
    for file in layout.get_files(scope="self").values():
        path = PurePosixPath(file.relpath)
        match path.parts:
            case (participant, "anat", _):
                session = None
            case (participant, session, "anat", _):
                session = session.removeprefix("ses-")
            case _:
                continue
        if suffix_of(path.name) in anatomical_suffixes():
            found[(participant.removeprefix("sub-"), session)].append(path.as_posix())
    return found


def _twins(labels: Iterable[str]) -> dict[str, list[str]]:
    """Labels that differ by case only: one folder on some file systems, two on others."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for label in labels:
        groups[label.lower()].append(label)
    return {label: group for group in groups.values() if len(group) > 1 for label in group}


def _label_findings(label: str, prefix: str, twins: dict[str, list[str]], parent: str = "") -> list[Finding]:
    path = f"{parent}{prefix}{label}"
    if LABEL.fullmatch(label) is None:
        message = f"{path}: expected a label of letters A-Z, a-z and digits only; rename the folder"
        return [Finding("invalid_entity", "error", message, path)]
    if label in twins:
        listed = ", ".join(f"{prefix}{twin}" for twin in twins[label])
        message = f"{path}: labels differ by case only ({listed}); rename one of them"
        return [Finding("labels_differ_by_case", "error", message, path)]
    return []


def _session(
    participant: str, session: str | None, *, paths: list[str], findings: list[Finding], time: SessionTime
) -> Session:
    by_key: defaultdict[tuple[object, ...], list[Scan]] = defaultdict(list)
    for path in sorted(paths):
        try:
            scan = _scan(path, participant, session)
        except InputRefused as refusal:
            findings.append(Finding(refusal.code, "error", refusal.message, path))
            continue
        if scan.entities.get("part") not in _NOT_MAGNITUDE:
            by_key[_key(scan)].append(scan)
    scans: list[Scan] = []
    for same in by_key.values():
        if len(same) == 1:
            scans.extend(same)
            continue
        listed = ", ".join(scan.path for scan in same)
        message = f"expected one file per image, got {len(same)} of the same name: {listed}; keep one"
        findings.extend(Finding("duplicate_scan", "error", message, scan.path) for scan in same)
    findings.extend(time.findings)
    return Session(
        participant,
        session,
        scans=tuple(sorted(scans, key=lambda scan: scan.path)),
        acquired=time.acquired,
        days=time.days,
        findings=tuple(sorted(findings)),
    )


def _scan(path: str, participant: str, session: str | None) -> Scan:
    name = path.rpartition("/")[2]
    entities, suffix = parse_name(name)
    named = (entities.pop("sub", None), entities.pop("ses", None))
    if named != (participant, session):
        message = f"{path}: the name does not repeat the labels of its folders; rename the file"
        raise InputRefused(message, code="name_mismatch")
    return Scan(path, suffix, entities)


def _key(scan: Scan) -> tuple[object, ...]:
    """Equal for names that mean the same image: extension, case and leading zeros of the run aside."""
    entities = {key: value.lower() for key, value in scan.entities.items()}
    if "run" in entities:
        entities["run"] = entities["run"].lstrip("0")
    return (scan.suffix.lower(), *sorted(entities.items()))
