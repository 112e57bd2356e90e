"""Which scans of a session a prompt works on, and in which order they and the sessions come."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SUFFIX_ORDER = (
    "T1w",
    "UNIT1",
    "T2w",
    "FLAIR",
    "PDw",
    "T2starw",
    "inplaneT1",
    "inplaneT2",
    "PDT2",
    "angio",
)
"""Anatomical images from the one to look at first; suffixes not listed follow in the order of the alphabet."""


STREAM_SUFFIXES = ("T1w", "T2w", "FLAIR", "PDw")
"""Contrasts that are read beside an image of their session, under ``streams: together``."""


@dataclass(frozen=True, slots=True)
class PlannedScan:
    """One image file of the plan.

    Attributes
    ----------
    session : str or None
        Label without ``ses-``.
    suffix : str
        BIDS suffix, ``T1w``.
    path : str
        Below the root of the dataset, with ``/``.
    entities : str
        Entities other than sub and ses, ``acq-mprage_run-1``.
    acquired : str or None
        ISO date of the session.
    days : float or None
        Days since the first session of the participant.
    """

    session: str | None
    suffix: str
    path: str
    entities: str = ""
    acquired: str | None = None
    days: float | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """The scan that stands for a suffix in a session, and what is to be known about that choice.

    Attributes
    ----------
    scan : PlannedScan
    flags : tuple of str
        ``flag_several_scans``: others have the same suffix; ``flag_contrast_agent``: only one with contrast agent.
    others : tuple of PlannedScan
        Of the same session and of other contrasts, to be read together with it.
    """

    scan: PlannedScan
    flags: tuple[str, ...] = ()
    others: tuple[PlannedScan, ...] = ()


def suffix_rank(suffix: str, wanted: Sequence[str] = ()) -> tuple[int, str]:
    """Sort key of a suffix: the order the prompt names, else `SUFFIX_ORDER`, else the alphabet."""
    order = wanted or SUFFIX_ORDER
    return (order.index(suffix) if suffix in order else len(order), suffix)


def choose(
    scans: Iterable[PlannedScan], wanted: Sequence[str] = (), *, beside: Sequence[PlannedScan] = ()
) -> list[Choice]:
    """One scan per session and suffix, sessions in time order and suffixes in the order wanted.

    Sessions of which one has no known time come in the natural order of their labels.
    Of several with one suffix the plainest is taken: no contrast agent, magnitude, fewest other entities, first run.

    Parameters
    ----------
    scans : iterable of PlannedScan
        Of one participant.
    wanted : sequence of str
        Suffixes that may be used, the preferred first; empty means all.
    beside : sequence of PlannedScan
        Of these, the plainest of each contrast go with the choices of their session.

    Examples
    --------
    >>> plain, gd = PlannedScan("01", "T1w", "a"), PlannedScan("01", "T1w", "b", "ce-gadolinium")
    >>> [(c.scan.path, c.flags) for c in choose([gd, plain])]
    [('a', ('flag_several_scans',))]
    """
    groups: dict[tuple[str | None, str], list[PlannedScan]] = {}
    for scan in scans:
        if not wanted or scan.suffix in wanted:
            groups.setdefault((scan.session, scan.suffix), []).append(scan)
    streams = [choice.scan for choice in choose(beside)] if beside else []
    choices = []
    for group in groups.values():
        best = min(group, key=_plainness)
        flags = ["flag_contrast_agent"] if "ce" in parse_entities(best.entities) else []
        flags += ["flag_several_scans"] if len(group) > 1 else []
        others = [scan for scan in streams if scan.session == best.session and scan.suffix != best.suffix]
        choices.append(Choice(best, tuple(flags), tuple(others)))
    dated = all(choice.scan.days is not None for choice in choices)
    return sorted(choices, key=lambda c: (_when(c.scan, dated=dated), suffix_rank(c.scan.suffix, wanted)))


def parse_entities(text: str) -> dict[str, str]:
    """Entities from their BIDS notation.

    >>> parse_entities("acq-mprage_run-1")
    {'acq': 'mprage', 'run': '1'}
    """
    return dict(entity.split("-", 1) for entity in text.split("_") if entity)


def natural(label: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key that puts ``2`` before ``10`` and never fails.

    >>> sorted(["10", "2", "pre"], key=natural)
    ['2', '10', 'pre']
    """
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"([0-9]+)", label) if part)


def _plainness(scan: PlannedScan) -> tuple[object, ...]:
    entities = parse_entities(scan.entities)
    others = [name for name in entities if name != "run"]
    run = entities.get("run", "0")
    return ("ce" in entities, entities.get("part", "mag") != "mag", len(others), natural(run), scan.path)


def _when(scan: PlannedScan, *, dated: bool) -> tuple[object, ...]:
    label = natural(scan.session or "")
    # dates of some sessions only say nothing about where the others belong
    return (scan.days, label) if dated else (label,)
