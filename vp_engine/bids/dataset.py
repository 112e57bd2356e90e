"""Which anatomical scans a BIDS dataset holds, session by session, and which of them cannot be told apart safely."""

from __future__ import annotations

import difflib
import errno
import os
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from vp_engine.bids.findings import Finding
from vp_engine.bids.names import EXTENSIONS, LABEL, anatomical_suffixes, parse_name, suffix_of
from vp_engine.bids.session_times import SessionTime, session_times
from vp_engine.errors import ConfigError, InfrastructureError, InputRefused

_NO_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
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


@dataclass(slots=True)
class _Visit:
    """What the folder of one session holds."""

    paths: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def index_dataset(root: Path, *, participants: Collection[str] | None = None) -> list[Session]:
    """List the sessions of a dataset with their anatomical images.

    Nothing is opened but text tables, and nothing is written. A participant without any image is listed too,
    with no scans, so that no hole appears downstream. What cannot be listed is a finding of that session and stops
    nobody else.

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
    try:
        labels = _labels(root, ".", "sub-")
    except InputRefused as refusal:
        raise ConfigError(f"{root}: {refusal.message}") from refusal
    if not labels:
        raise ConfigError(f"expected folders sub-<label> in {root}, found none; is this the top of a BIDS dataset?")
    twins = _twins(labels)
    sessions: list[Session] = []
    for participant in _chosen(labels, participants, root):
        sessions += _participant(root, participant, twins)
    return sessions


def _participant(root: Path, participant: str, participant_twins: dict[str, list[str]]) -> list[Session]:
    """Sessions of one participant, with everything that keeps their scans from being used."""
    visits = _visits(root, participant)
    twins = _twins(label for label in visits if label is not None)
    own = _label_findings(participant, "sub-", participant_twins)
    times = session_times(root, participant, list(visits)) if not own else {}
    sessions = []
    for label, visit in visits.items():
        findings = [*own, *visit.findings]
        if label is not None:
            findings += _label_findings(label, "ses-", twins, f"sub-{participant}/")
        paths = [] if findings else visit.paths
        time = times.get(label, SessionTime(None, None, ()))
        sessions.append(_session(participant, label, paths=paths, findings=findings, time=time))
    return sessions


def _visits(root: Path, participant: str) -> dict[str | None, _Visit]:
    """Sessions of a participant in the order of their labels, first what lies outside session folders."""
    folder = f"sub-{participant}"
    try:
        labels = _labels(root, folder, "ses-")
    except InputRefused as refusal:
        return {None: _Visit(findings=[Finding(refusal.code, "error", refusal.message, folder)])}
    outside = _visit(root, f"{folder}/anat")
    visits: dict[str | None, _Visit] = {}
    if not labels or outside.paths or outside.findings:
        visits[None] = outside
    return visits | {label: _visit(root, f"{folder}/ses-{label}/anat") for label in labels}


def _visit(root: Path, folder: str) -> _Visit:
    """Anatomical images in a folder by their names, whatever they turn out to be."""
    try:
        names = [entry.name for entry in _entries(root, folder)]
    except InputRefused as refusal:
        return _Visit(findings=[Finding(refusal.code, "error", refusal.message, folder)])
    images = [name for name in names if name.endswith(EXTENSIONS) and not name.startswith(".")]
    return _Visit([f"{folder}/{name}" for name in images if suffix_of(name) in anatomical_suffixes()])


def _entries(root: Path, folder: str) -> list[os.DirEntry[str]]:
    """What a folder of the dataset holds, in the order of names; nothing when there is none.

    Raises
    ------
    InputRefused
        ``outside_dataset`` or ``unreadable``.
    InfrastructureError
        If the file system fails.
    """
    path = root / folder
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        message = f"{folder}: expected a folder inside the dataset, it links to one outside; copy it into the dataset"
        raise InputRefused(message, code="outside_dataset")
    try:
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except PermissionError as error:
        message = f"{folder}: expected a folder that may be listed, it may not; correct its permissions"
        raise InputRefused(message, code="unreadable") from error
    except OSError as error:
        if error.errno in _NO_FOLDER:
            return []
        raise InfrastructureError(f"{folder}: listing failed ({error.strerror}); try again") from error


def _labels(root: Path, folder: str, prefix: str) -> list[str]:
    names = (entry.name for entry in _entries(root, folder) if entry.name.startswith(prefix) and entry.is_dir())
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
        message = f"{path}: expected labels that differ by more than case, got {listed}; rename one of them"
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
    findings = [replace(one, message=_printable(one.message), path=_printable(one.path)) for one in findings]
    return Session(
        _shown(participant),
        None if session is None else _shown(session),
        scans=tuple(sorted(scans, key=lambda scan: scan.path)),
        acquired=time.acquired,
        days=time.days,
        findings=tuple(sorted(findings)),
    )


def _scan(path: str, participant: str, session: str | None) -> Scan:
    name = path.rpartition("/")[2]
    entities, suffix = parse_name(_printable(name))
    named = (entities.pop("sub", None), entities.pop("ses", None))
    if named != (participant, session):
        message = f"{path}: expected the labels of its folders in the name, got others; rename the file"
        raise InputRefused(message, code="name_mismatch")
    return Scan(path, suffix, entities)


def _shown(label: str) -> str:
    """A label that tables can hold, no two alike."""
    return _printable(label.replace("\\", "\\\\"))


def _printable(text: str) -> str:
    """Line ends, marks that turn the reading direction, and bytes that are no UTF-8 written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _key(scan: Scan) -> tuple[object, ...]:
    """Equal for names that mean the same image: extension, case and leading zeros of the run aside."""
    entities = {key: value.lower() for key, value in scan.entities.items()}
    if "run" in entities:
        entities["run"] = entities["run"].lstrip("0")
    return (scan.suffix.lower(), *sorted(entities.items()))
