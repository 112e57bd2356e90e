"""Quality of delineations: how sure each is, how far its volume lies from the others', and which to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from vp_engine.tables.confidence import LOOK_BELOW

FAR = 3.5
"""Robust z of a volume beyond which it is an outlier (Iglewicz & Hoaglin 1993)."""

MIN_GROUP = 12
"""Volumes that are needed before one of them can be called an outlier."""

CASES = 3
"""Cases to begin with, and typical ones, that the viewer shows."""


@dataclass(frozen=True, slots=True)
class Structure:
    """One structure on one scan.

    Attributes
    ----------
    target : str
        Canonical name.
    qc_score : float or None
    volume_mm3 : float
    z : float or None
        Distance of the volume from the median of its dataset, in robust standard deviations; None in a small group or
        one of equal volumes.
    """

    target: str
    qc_score: float | None
    volume_mm3: float
    z: float | None = None


@dataclass(frozen=True, slots=True)
class ScanQuality:
    """One scan with all that was delineated on it.

    Attributes
    ----------
    name : str
        Unique; of its files.
    dataset, participant : str
    session : str or None
    scan : str
        Path of the image in its dataset.
    structures : tuple of Structure
        Sorted by target.
    thumbnail : bytes or None
        WebP.
    why : str
        Why there is no thumbnail.
    """

    name: str
    dataset: str
    participant: str
    session: str | None
    scan: str
    structures: tuple[Structure, ...]
    thumbnail: bytes | None = None
    why: str = ""

    @property
    def who(self) -> str:
        """For a person."""
        session = f" ses-{self.session}" if self.session is not None else ""
        return f"{self.dataset}: sub-{self.participant}{session}"

    @property
    def worst(self) -> Structure | None:
        """The structure with the lowest score; None when none has one."""
        scored = [one for one in self.structures if one.qc_score is not None]
        return min(scored, key=lambda one: (one.qc_score, one.target), default=None)

    @property
    def farthest(self) -> Structure | None:
        """The structure whose volume lies farthest from the others'; None when that is not known of any."""
        known = [one for one in self.structures if one.z is not None]
        return max(known, key=lambda one: (abs(one.z or 0.0), one.target), default=None)

    @property
    def low(self) -> bool:
        """A score is low."""
        return _score(self) < LOOK_BELOW

    @property
    def far(self) -> bool:
        """A volume is far from the others'."""
        return self.farthest is not None and abs(self.farthest.z or 0.0) > FAR

    @property
    def suspicious(self) -> bool:
        """To be looked at."""
        return self.low or self.far


def judge_scans(scans: Sequence[ScanQuality]) -> list[ScanQuality]:
    """Fill in the distances, and put outliers first, then the lower scores.

    Distances are ``0.6745 (volume - median) / MAD`` within a dataset; of several sessions of a participant each counts.
    """
    volumes: dict[tuple[str, str], list[float]] = {}
    for scan in scans:
        for one in scan.structures:
            volumes.setdefault((scan.dataset, one.target), []).append(one.volume_mm3)
    centres = {key: _centre(own) for key, own in volumes.items()}
    judged = [
        replace(
            scan,
            structures=tuple(
                replace(one, z=_distance(one.volume_mm3, centres[scan.dataset, one.target])) for one in scan.structures
            ),
        )
        for scan in scans
    ]
    return sorted(judged, key=_order)


def compared(scans: Sequence[ScanQuality]) -> bool:
    """Whether any volume was compared with those of other scans: there were enough of them."""
    return any(scan.farthest is not None for scan in scans)


def choose_cases(judged: Sequence[ScanQuality]) -> list[tuple[ScanQuality, str]]:
    """Up to three cases to begin with and three typical ones, each of another participant, and why it was chosen.

    Parameters
    ----------
    judged : sequence of ScanQuality
        From `judge_scans`.
    """
    seen: set[tuple[str, str]] = set()
    chosen = [(scan, _why_first(scan)) for scan in _distinct(judged, seen)]
    scores = sorted(
        scan.worst.qc_score for scan in judged if scan.worst is not None and scan.worst.qc_score is not None
    )
    middle = scores[len(scores) // 2] if scores else 0.0
    by_middle = sorted(judged, key=lambda scan: (abs(_score(scan) - middle), scan.name))
    return chosen + [(scan, "typical, with a score in the middle") for scan in _distinct(by_middle, seen)]


def gallery_data(judged: Sequence[ScanQuality]) -> dict[str, Any]:
    """What the page's script needs to sort and filter: names once, scans as short rows.

    Returns
    -------
    dict
        `targets`: names; `scans`: rows ``[who, lowest score, its target, largest distance, its target, suspicious,
        why there is no picture, {target: [score, distance]}]`` in the order given, targets as numbers.
    """
    targets = sorted({one.target for scan in judged for one in scan.structures})
    number = {target: n for n, target in enumerate(targets)}
    rows = []
    for scan in judged:
        worst, farthest = scan.worst, scan.farthest
        rows.append(
            [
                scan.who,
                None if worst is None else _rounded(worst.qc_score),
                None if worst is None else number[worst.target],
                None if farthest is None else _rounded(farthest.z),
                None if farthest is None else number[farthest.target],
                int(scan.suspicious),
                scan.why,
                {number[one.target]: [_rounded(one.qc_score), _rounded(one.z)] for one in scan.structures},
            ]
        )
    return {"targets": targets, "scans": rows}


def _why_first(scan: ScanQuality) -> str:
    """Why a scan is at the beginning, without more alarm than there is."""
    reasons = ["a volume far from the others'"] if scan.far else []
    if scan.low or not reasons:
        reasons.append("no score" if scan.worst is None else "one of the lowest scores")
    return " and ".join(reasons)


def _distinct(scans: Sequence[ScanQuality], seen: set[tuple[str, str]]) -> list[ScanQuality]:
    chosen: list[ScanQuality] = []
    for scan in scans:
        if len(chosen) == CASES:
            break
        if scan.thumbnail is not None and (scan.dataset, scan.participant) not in seen:
            seen.add((scan.dataset, scan.participant))
            chosen.append(scan)
    return chosen


def _order(scan: ScanQuality) -> tuple[Any, ...]:
    return (not scan.suspicious, _score(scan), scan.dataset, scan.participant, scan.session or "", scan.name)


def _score(scan: ScanQuality) -> float:
    worst = scan.worst
    return 2.0 if worst is None or worst.qc_score is None else worst.qc_score


def _centre(volumes: Sequence[float]) -> tuple[float, float] | None:
    """Median and median absolute deviation; None when they say nothing."""
    if len(volumes) < MIN_GROUP:
        return None
    middle = median(volumes)
    spread = median(abs(volume - middle) for volume in volumes)
    return (middle, spread) if spread > 0 else None


def _distance(volume: float, centre: tuple[float, float] | None) -> float | None:
    return None if centre is None else 0.6745 * (volume - centre[0]) / centre[1]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
