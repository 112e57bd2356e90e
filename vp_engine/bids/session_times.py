"""When the sessions of a participant took place, from the sessions or scans table."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from vp_engine.bids.findings import Finding
from vp_engine.bids.text_tables import read_sessions, read_tsv
from vp_engine.errors import InputRefused

LONGEST_DAYS = 50_000
"""Most days between a session and the baseline, longer than anybody lives."""


@dataclass(frozen=True, slots=True)
class SessionTime:
    """When one session took place.

    Attributes
    ----------
    acquired : str, optional
        ISO date.
    days : float, optional
        Since the baseline of the participant.
    findings : tuple of Finding
        Warnings about tables or times that could not be read.
    """

    acquired: str | None
    days: float | None
    findings: tuple[Finding, ...]


def session_times(root: Path, participant: str, sessions: Sequence[str | None]) -> dict[str | None, SessionTime]:
    """Find when sessions took place.

    The date is `acq_time` of ``sessions.tsv``, else the earliest one of the anatomical images in ``scans.tsv``.
    The days are `days_since_baseline` of ``sessions.tsv``. Where no session has them they are counted from the earliest
    date; where only some have, from a session that has both, and else they stay unknown: nothing says how the two
    baselines lie to each other.

    Parameters
    ----------
    root : Path
        Dataset folder.
    participant : str
        Label without ``sub-``.
    sessions : sequence of str or None
        Labels without ``ses-``; None for the session of a dataset without sessions.

    Returns
    -------
    dict of SessionTime
        For every session asked for; a table that cannot be read costs the time, not the session.
    """
    table_path = f"sub-{participant}/sub-{participant}_sessions.tsv"
    common: list[Finding] = []
    try:
        table = read_sessions(root, participant).by("session_id")
    except InputRefused as refusal:
        table = {}
        common.append(Finding(refusal.code, "warning", refusal.message, table_path))
    dates: dict[str | None, date | None] = {}
    days: dict[str | None, float | None] = {}
    findings: dict[str | None, list[Finding]] = {}
    for session in sessions:
        own = findings[session] = [*common]
        acquired = _date(_cell(table, session, "acq_time"), table_path, own)
        dates[session] = acquired or _earliest_scan(root, participant, session, own)
        days[session] = _number(_cell(table, session, "days_since_baseline"), table_path, own)
    anchor = _anchor(dates, days)
    times: dict[str | None, SessionTime] = {}
    for session in sessions:
        acquired = dates[session]
        elapsed = days[session]
        if elapsed is None and acquired is not None and anchor is not None:
            elapsed = anchor[1] + (acquired - anchor[0]).days
        times[session] = SessionTime(acquired.isoformat() if acquired else None, elapsed, tuple(findings[session]))
    return times


def _anchor(
    dates: Mapping[str | None, date | None], days: Mapping[str | None, float | None]
) -> tuple[date, float] | None:
    """A date whose days since the baseline are known."""
    if any(elapsed is not None for elapsed in days.values()):
        both = ((dates[session], elapsed) for session, elapsed in days.items())
        return next(((day, elapsed) for day, elapsed in both if day is not None and elapsed is not None), None)
    earliest = min((day for day in dates.values() if day is not None), default=None)
    return None if earliest is None else (earliest, 0.0)


def _cell(table: Mapping[str | None, Mapping[str, str | None]], session: str | None, column: str) -> str | None:
    return None if session is None else table.get(session, {}).get(column)


def _earliest_scan(root: Path, participant: str, session: str | None, findings: list[Finding]) -> date | None:
    stem = f"sub-{participant}" if session is None else f"sub-{participant}_ses-{session}"
    folder = f"sub-{participant}" if session is None else f"sub-{participant}/ses-{session}"
    path = f"{folder}/{stem}_scans.tsv"
    if not os.path.lexists(root / path):
        return None
    try:
        table = read_tsv(root, path)
    except InputRefused as refusal:
        findings.append(Finding(refusal.code, "warning", refusal.message, path))
        return None
    if not {"filename", "acq_time"} <= set(table.columns):
        return None
    named = zip(table.column("filename"), table.column("acq_time"), strict=True)
    anatomical = [text for name, text in named if str(name).startswith("anat/")]
    dates = [_date(text, path, findings) for text in anatomical if text != "n/a"]
    return min((day for day in dates if day is not None), default=None)


def _date(text: str | None, path: str, findings: list[Finding]) -> date | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).date()
    except ValueError:
        message = f"{path}: expected acq_time as YYYY-MM-DDThh:mm:ss, got another text; the time is not used"
        findings.append(Finding("bad_time", "warning", message, path))
        return None


def _number(text: str | None, path: str, findings: list[Finding]) -> float | None:
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) <= LONGEST_DAYS:  # false for what is not a number
        message = f"{path}: expected days_since_baseline as a number up to {LONGEST_DAYS}, got another; it is not used"
        findings.append(Finding("bad_time", "warning", message, path))
        return None
    return number
