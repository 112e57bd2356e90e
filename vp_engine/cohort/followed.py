"""What became of lesions between two sessions, in sentences: how many of each fate, and those that changed most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from vp_engine.agent.wording import in_words
from vp_engine.cohort.sentences import Telling, between, doubt
from vp_engine.environment.values import Number, Text
from vp_engine.environment.vocabulary import FATES

MOST_TOLD = 6
"""Lesions that are told of one by one; the others stand in the rows."""

_FATE = "fate"
_PER_LESION = ("volume", "change", "percent_change", "annual_rate")


@dataclass(frozen=True, slots=True)
class Followed:
    """The rows that `follow` wrote, apart from all others.

    Attributes
    ----------
    words : tuple of Text
        One of measure ``fate`` per lesion, the largest first.
    numbers : tuple of Number
        Of the lesions, and the totals of each fate.
    """

    words: tuple[Text, ...]
    numbers: tuple[Number, ...]


def followed_rows(results: Sequence[object]) -> Followed:
    """Find the rows that `follow` wrote among all results."""
    words = tuple(row for row in results if isinstance(row, Text) and row.measure == _FATE)
    lesions = {row.target for row in words}
    numbers = tuple(
        row
        for row in results
        if isinstance(row, Number)
        and ((row.target in lesions and row.measure in _PER_LESION) or _fate_of_total(row) is not None)
    )
    return Followed(words, numbers)


def followed_sentences(found: Followed, telling: Telling) -> Iterator[str]:
    """Say what became of lesions: the totals first, then each lesion that changed."""
    totals: dict[tuple[str, str], dict[str, dict[str, Number]]] = {}
    for row in found.numbers:
        if (fate := _fate_of_total(row)) is not None:
            key = row.target.removesuffix(f"_{fate}"), row.image
            totals.setdefault(key, {}).setdefault(fate, {})[row.measure] = row
    for (base, _), by_fate in totals.items():
        yield _total(base, by_fate, telling)
    changed = [row for row in found.words if row.word != "stable"]
    for word in changed[:MOST_TOLD]:
        yield _lesion(word, [row for row in found.numbers if row.target == word.target], telling)
    if len(changed) > MOST_TOLD:
        yield f"The rows have {len(changed) - MOST_TOLD} more that changed, all of them smaller."


def _fate_of_total(row: Number) -> str | None:
    """Fate of the lesions that a row counts or adds up; None when it is of something else."""
    if row.reference_session is None or row.measure not in ("count", "volume"):
        return None
    return next((fate for fate in FATES if row.target.endswith(f"_{fate}")), None)


def _total(base: str, by_fate: dict[str, dict[str, Number]], telling: Telling) -> str:
    any_row = next(iter(by_fate.values()))["count"]
    counts = {fate: int(by_fate[fate]["count"].value or 0) for fate in FATES}
    start = f"{between(any_row)}, of the {in_words(base)}"
    if not any(counts.values()):
        return f"{start}: none was found in either."
    parts = []
    for fate, number in counts.items():
        volume = telling.amount(replace(by_fate[fate]["volume"], qc_score=None))
        when = {"new": "", "gone": " before"}.get(fate, " now")
        parts.append(f"{number} {fate} ({volume}{when})" if number else f"none {fate}")
    return f"{start}: {', '.join(parts)}{doubt(any_row)}."


def _lesion(word: Text, rows: Sequence[Number], telling: Telling) -> str:
    own = [replace(row, qc_score=None) for row in rows]
    changes = {row.measure: row for row in own if (row.session, row.image) == (word.session, word.image)}
    after, earlier = changes["volume"], changes["change"].reference_session
    candidates = [row for row in own if row.measure == "volume" and row.session == earlier]
    before = min(candidates, key=lambda row: row.image != word.image)  # on another contrast when there is no other
    base, _, number = (word.target or "").rpartition("_")
    which = f"Number {int(number)} of the {in_words(base)}"
    match word.word:
        case "new":
            return f"{which} is new: {telling.amount(after)}."
        case "gone":
            return f"{which} is gone: it had {telling.amount(before)}."
        case fate:
            percent = telling.amount(changes["percent_change"], signed=True)
            yearly = f", {telling.amount(changes['annual_rate'], signed=True)}" if "annual_rate" in changes else ""
            return f"{which} has {fate} from {telling.amount(before)} to {telling.amount(after)} ({percent}{yearly})."
