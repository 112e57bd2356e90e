"""Lesions one by one and what `describe` says of them, in sentences that stay few however many lesions there are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from vp_engine.agent.wording import INTENSITIES, MEASURES, in_words, place_in_words
from vp_engine.cohort.sentences import Telling, doubt
from vp_engine.environment.values import Number, SessionInfo, Text
from vp_engine.environment.vocabulary import ASPECTS

MOST_TOLD = 10
"""Lesions that are told of one by one; of the others the ranges are."""

UNSURE_BELOW = 0.75
"""Confidence below which a word about one of several lesions is said to be unsure."""

_PIECE = re.compile(r"(?P<whole>.+)_(?P<number>\d{3})")
_NAMES = MappingProxyType({**MEASURES, "distance": "distance"})

_PHRASES: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("side", "left"): "on the left",
        ("side", "right"): "on the right",
        ("side", "both"): "on both sides",
        ("side", "midline"): "across the midline",
        ("number", "one"): "one piece",
        ("number", "several"): "several pieces",
        ("number", "many"): "many pieces",
        ("signal", "bright"): "brighter than white matter on {image}",
        ("signal", "dark"): "darker than white matter on {image}",
        ("signal", "similar"): "as bright as white matter on {image}",
        ("pattern", "solid"): "solid",
        ("pattern", "ring"): "ring-like",
        ("mass_effect", "yes"): "with mass effect",
        ("mass_effect", "no"): "without mass effect",
        ("enhancement", "yes"): "enhancing",
        ("enhancement", "no"): "not enhancing",
    }
)


@dataclass(frozen=True, slots=True)
class Described:
    """Rows about lesions one by one, and words that describe masks, apart from all others.

    Attributes
    ----------
    words : tuple of Text
        Of an aspect, in order.
    numbers : tuple of Number
        Of pieces, in order.
    """

    words: tuple[Text, ...]
    numbers: tuple[Number, ...]


def described_rows(results: Iterable[object]) -> Described:
    """Find the rows about pieces and the words about aspects among results."""
    words, numbers = [], []
    for row in results:
        if isinstance(row, Text) and row.measure in ASPECTS:
            words.append(row)
        elif isinstance(row, Number) and _is_of_piece(row):
            numbers.append(row)
    return Described(tuple(words), tuple(numbers))


def described_sentences(found: Described, telling: Telling) -> Iterator[str]:
    """Say what masks hold, then each of the larger lesions, then the ranges of the others."""
    rows: list[Number | Text] = [*found.numbers, *found.words]
    several = len({row.session for row in rows}) > 1
    whole: dict[tuple[str, SessionInfo | None], list[Text]] = {}
    pieces: dict[tuple[str, SessionInfo | None], dict[str, list[Number | Text]]] = {}
    for row in rows:
        piece = _PIECE.fullmatch(row.target or "")
        if piece is not None:
            own = pieces.setdefault((piece["whole"], row.session), {})
            own.setdefault(piece["number"], []).append(row)
        elif isinstance(row, Text):
            whole.setdefault((row.target or "", row.session), []).append(row)
    for (target, session), words in whole.items():
        yield f"{_start(in_words(target), session, several=several)}{', '.join(_phrases(words, alone=True))}."
    for (target, session), lesions in pieces.items():
        yield from _one_by_one(target, session, lesions, telling, several=several)


def _is_of_piece(row: Number) -> bool:
    return row.reference_session is None and row.measure in _NAMES and _PIECE.fullmatch(row.target) is not None


def _one_by_one(
    target: str,
    session: SessionInfo | None,
    lesions: Mapping[str, Sequence[Number | Text]],
    telling: Telling,
    *,
    several: bool,
) -> Iterator[str]:
    ordered = sorted(lesions)
    # a single one more is told as fast as its ranges
    told = ordered if len(ordered) <= MOST_TOLD + 1 else ordered[:MOST_TOLD]
    sentences = []
    for number in told:
        rows = lesions[number]
        numbers, words = _numbers(rows), [row for row in rows if isinstance(row, Text)]
        said = [*(_amount(row, telling) for row in numbers), *_phrases(words, alone=False)]
        start = _start(in_words(f"{target}_{number}"), session, several=several)
        sentences.append(f"{start}{', '.join(said)}.".replace("a.u..", "a.u."))
    if len(told) < len(ordered):
        rest = [row for number in ordered[len(told) :] for row in _numbers(lesions[number])]
        ranges = "; ".join(_ranges(rest, telling)) or "in the rows"
        which = f"The other {len(ordered) - len(told)} of the {in_words(target)}"
        sentences.append(f"{_start(which, session, several=several)}{ranges}; see the rows.")
    every = _numbers(row for rows in lesions.values() for row in rows)
    doubtful = next((doubt(row) for row in every if doubt(row)), "")
    if doubtful:
        sentences[-1] = f"{sentences[-1].removesuffix('.')}{doubtful}."
    yield from sentences


def _numbers(rows: Iterable[Number | Text]) -> list[Number]:
    return [row for row in rows if isinstance(row, Number)]


def _amount(row: Number, telling: Telling) -> str:
    name = _name(row)
    return f"{name} undefined" if row.value is None else f"{name} {telling.amount(replace(row, qc_score=None))}"


def _name(row: Number) -> str:
    return _NAMES[row.measure] + (f" on {row.image}" if row.measure in INTENSITIES else "")


def _ranges(rows: Sequence[Number], telling: Telling) -> Iterator[str]:
    """From the smallest to the largest value of each measure."""
    groups: dict[str, list[Number]] = {}
    for row in rows:
        if row.value is not None:
            groups.setdefault(_name(row), []).append(replace(row, qc_score=None))
    for name, group in groups.items():
        low, high = (telling.amount(pick(group, key=lambda row: row.value or 0.0)) for pick in (min, max))
        yield f"{name} {low}" if low == high else f"{name} {low} to {high}"


def _phrases(words: Sequence[Text], *, alone: bool) -> list[str]:
    """Words as a person would say them; how sure they are, for a mask as a whole always, for one lesion when unsure."""
    if words and all(row.word == "none" for row in words):
        return ["none found"]
    said = [_phrase(row, alone=alone) + _confidence(row, alone=alone) for row in words if row.word != "unclear"]
    unclear = [row.measure.replace("_", " ") for row in words if row.word == "unclear"]
    if unclear:
        others = f"{', '.join(unclear[:-1])} and " if unclear[1:] else ""
        said.append(f"{others}{unclear[-1]} unclear from these images")
    return said


def _phrase(row: Text, *, alone: bool) -> str:
    if row.measure == "place" and row.word != "none":
        return f"{'mostly ' if alone else ''}{place_in_words(row.word).strip('()')}"
    return _PHRASES.get((row.measure, row.word), row.word.replace("_", " ")).format(image=row.image)


def _confidence(row: Text, *, alone: bool) -> str:
    if row.confidence is None or (not alone and row.confidence >= UNSURE_BELOW):
        return ""
    return f" ({'confidence' if alone else 'unsure:'} {row.confidence:.2f})"


def _start(what: str, session: SessionInfo | None, *, several: bool) -> str:
    if several and session is not None and session.label is not None:
        return f"In session {session.label}, {what[:1].lower() + what[1:]}: "
    return f"{what[:1].upper()}{what[1:]}: "
