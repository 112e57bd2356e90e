"""Measured numbers as sentences: one for each group of rows that differ in the structure alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from vp_engine.agent.calculations import Calculation
from vp_engine.agent.units import Asked, amount
from vp_engine.agent.wording import INTENSITIES, MEASURES, SIZES, in_words, is_said_whole, quantity
from vp_engine.cohort.flags import FLAGS
from vp_engine.environment.regions import twin_name
from vp_engine.environment.values import Mask, Number
from vp_engine.tables.confidence import LOOK_BELOW

MOST_LISTED = 12
"""Structures that one sentence lists; of more it gives the range."""

CHANGES = ("change", "percent_change", "annual_rate")
"""Measures of two sessions."""

_COORDINATES = ("centroid_x", "centroid_y", "centroid_z")
_BY_UNIT = {"mm3": "volume", "mm2": "surface_area"}
_NO_VALUE = ", so that there is no value"


@dataclass(frozen=True, slots=True)
class Telling:
    """What all sentences of one answer rest on."""

    asked: Asked
    made: tuple[Calculation, ...]
    several_sessions: bool
    several_images: bool

    def amount(self, row: Number, *, signed: bool = False) -> str:
        """Value with unit, and that it is not to be trusted."""
        value = 0.0 if row.value is None else row.value
        text = amount(value, row.unit, measure=row.measure, asked=self.asked, signed=signed)
        return text + doubt(row)

    def calculation(self, row: Number) -> Calculation | None:
        """How a row was made, when the program leaves no doubt."""
        ops = ("annual_rate", "annual_percent_rate") if row.measure == "annual_rate" else (row.measure,)
        fitting = {one for one in self.made if one.op in ops and _fits(one, row)}
        return fitting.pop() if len(fitting) == 1 else None

    def measure(self, row: Number) -> str:
        """Measure that an asymmetry or a change is one of; empty when neither program nor unit say."""
        if row.measure in MEASURES:
            return row.measure
        found = self.calculation(row)
        by_unit = _BY_UNIT.get(row.unit.partition("/")[0], "") if row.measure in CHANGES else ""
        return found.operands[0].measure if found is not None else by_unit

    def where(self, row: Number) -> str:
        """Start of a sentence: session and image, where there are several."""
        image = f"On the {row.image} image" if self.several_images or row.measure in INTENSITIES else ""
        session = row.session.label if self.several_sessions else None
        if session is None:
            return f"{image}, the" if image else "The"
        return f"{image} of session {session}, the" if image else f"In session {session}, the"


def number_sentences(rows: Sequence[Number], telling: Telling) -> Iterator[str]:
    """One sentence per group of rows that differ in the structure alone."""
    centres = _centres(rows)
    for centre in centres:
        yield _centre(centre, telling)
    groups: dict[tuple[object, ...], list[Number]] = {}
    for row in rows:
        if any(row in centre for centre in centres):
            continue
        measure = telling.measure(row)
        alone: object = None
        if row.value is None and row.measure in MEASURES:
            alone = _reasons(row)
        elif row.value is None or row.measure not in (*MEASURES, *CHANGES) or is_said_whole(measure, row.target):
            alone = row.target
        sessions = row.session, row.reference_session
        groups.setdefault((row.measure, row.unit, measure, row.image, *sessions, alone), []).append(row)
    for group in groups.values():
        # "a.u." ends in a full stop itself
        yield _sentence(group, telling).replace("a.u..", "a.u.")


def _centres(rows: Sequence[Number]) -> list[list[Number]]:
    """Rows that are the three coordinates of one centre."""
    groups: dict[tuple[object, ...], list[Number]] = {}
    for row in rows:
        if row.measure in _COORDINATES and row.value is not None:
            groups.setdefault((row.target, row.image, row.session), []).append(row)
    return [
        sorted(group, key=lambda row: row.measure)
        for group in groups.values()
        if {row.measure for row in group} == set(_COORDINATES) and len(group) == len(_COORDINATES)
    ]


def _centre(rows: Sequence[Number], telling: Telling) -> str:
    place = ", ".join(f"{row.measure[-1]} {telling.amount(replace(row, qc_score=None))}" for row in rows)
    frame = "right, front and up are positive"
    return f"{telling.where(rows[0])} centre of the {in_words(rows[0].target)} is at {place} ({frame}){doubt(rows[0])}."


def _sentence(rows: list[Number], telling: Telling) -> str:
    row = rows[0]
    if row.value is None:
        return _undefined(rows, telling)
    if row.measure in CHANGES:
        return _changed(rows, telling)
    start, amounts = telling.where(row), [telling.amount(one) for one in rows]
    match row.measure:
        case "asymmetry":
            return _asymmetry(row, telling)
        case "ratio":
            return f"{start} {_ratio(row, telling)} is {telling.amount(row)}."
        case "distance":
            closeness = "; they touch or overlap" if row.value == 0 else ""
            return f"{start} {_distance(row, telling)} is {telling.amount(row)}{closeness}."
        case measure if measure in MEASURES:
            if len(rows) > MOST_LISTED:
                return f"{start} {MEASURES[measure]} of {len(rows)} structures is {_range(rows, amounts)}."
            return f"{start} {quantity(measure, row.target)} is {_listed(rows, amounts)}."
        case measure:
            return f"{start} {measure.replace('_', ' ')} for the {in_words(row.target)} is {telling.amount(row)}."


def _listed(rows: Sequence[Number], amounts: Sequence[str], *, verb: str = "") -> str:
    """First amount, and the others with their structures."""
    targets = [row.target for row in rows]
    if len(rows) == 2 and not any("(" in text for text in amounts):
        sides = [target.split("_")[0] for target in targets]
        if sides in (["left", "right"], ["right", "left"]) and twin_name(*sorted(targets)) is not None:
            return f"{amounts[0]} ({sides[1]}: {amounts[1]})"
    others = [f"that of the {in_words(t)} {verb}{text}" for t, text in zip(targets[1:], amounts[1:], strict=True)]
    return amounts[0] + "".join(f", {text}" for text in others[:-1]) + "".join(f" and {text}" for text in others[-1:])


def _range(rows: Sequence[Number], amounts: Sequence[str]) -> str:
    """Smallest and largest of many, and how many are not to be trusted."""
    ordered = sorted(zip(rows, amounts, strict=True), key=lambda pair: pair[0].value or 0.0)
    low, high = (f"{text} ({in_words(row.target)})" for row, text in (ordered[0], ordered[-1]))
    doubtful = sum(bool(doubt(row)) for row in rows)
    confidence = f"; the confidence of {doubtful} is low" if doubtful else ""
    return f"between {low} and {high}{confidence}; see the rows"


def _changed(rows: list[Number], telling: Telling) -> str:
    row = rows[0]
    measure = telling.measure(row)
    start = between(row)
    if not measure:
        said = [f"{in_words(one.target)} {telling.amount(one, signed=True)}" for one in rows]
        return f"{start}, the measure asked about changed: {', '.join(said)}."
    amounts = [telling.amount(one, signed=True) for one in rows]
    if len(rows) > MOST_LISTED:
        return f"{start}, the {MEASURES[measure]} of {len(rows)} structures changed by {_range(rows, amounts)}."
    return f"{start}, the {quantity(measure, row.target)} changed by {_listed(rows, amounts, verb='by ')}."


def between(row: Number) -> str:
    """Start of a sentence about a change: from which session to which."""
    earlier, later = row.reference_session, row.session
    if earlier is None or earlier.label is None or later.label is None:
        return "Between the sessions"
    return f"From session {earlier.label} to session {later.label}"


def _asymmetry(row: Number, telling: Telling) -> str:
    measure = telling.measure(row)
    value = row.value or 0.0
    of = f"{MEASURES[measure]} of the {in_words(row.target)}" if measure else in_words(row.target)
    larger = "is larger" if measure in SIZES else "has the larger value"
    side = f"the {'left' if value > 0 else 'right'} side {larger}" if value else "both sides are equal"
    return f"{telling.where(row)} asymmetry index 2(L-R)/(L+R) of the {of} is {telling.amount(row)}: {side}."


def _ratio(row: Number, telling: Telling) -> str:
    made = telling.calculation(row)
    if made is None:
        return f"ratio for the {in_words(row.target)}"
    first, second = made.operands
    top = (
        f"ratio of the {quantity(first.measure, row.target)}"
        if first.measure
        else f"ratio for the {in_words(row.target)}"
    )
    if not second.measure:
        return top
    bottom = (
        quantity(second.measure, second.structure)
        if second.structure
        else f"{MEASURES[second.measure]} of another region"
    )
    return f"{top} to the {bottom}"


def _distance(row: Number, telling: Telling) -> str:
    made = telling.calculation(row)
    if made is None or not made.operands[1].structure:
        return f"shortest distance asked for from the {in_words(row.target)}"
    return f"shortest distance between the {in_words(row.target)} and the {in_words(made.operands[1].structure)}"


def _undefined(rows: list[Number], telling: Telling) -> str:
    row = rows[0]
    measure = telling.measure(row)
    of = quantity(measure, row.target) if measure else in_words(row.target)
    match row.measure:
        case "ratio":
            what = _ratio(row, telling)
        case "distance":
            what = _distance(row, telling)
        case plain if plain in MEASURES:
            what = of if len(rows) == 1 else f"{MEASURES[plain]} of {_structures(rows)}"
        case derived:
            what = f"{derived.replace('_', ' ')} of the {of}"
    start = f"{between(row)}, the" if row.measure in CHANGES else telling.where(row)
    return f"{start} {what} has no value: {_reasons(row)}."


def _structures(rows: Sequence[Number]) -> str:
    if len(rows) > MOST_LISTED:
        return f"{len(rows)} structures"
    return f"each of these: {', '.join(in_words(row.target) for row in rows)},"


def _reasons(row: Number) -> str:
    why = " and ".join(reason for flag in row.flags if (reason := why_undefined(flag)))
    return (why or ", ".join(row.flags) or "no reason is given") + doubt(row)


def doubt(found: Number | Mask) -> str:
    """What is to be said of a mask that is to be looked at."""
    if found.qc_score is None or found.qc_score >= LOOK_BELOW:
        return ""
    return f" (low confidence: qc_score {found.qc_score:.2f})"


def why_undefined(flag: str) -> str:
    """Reason for a missing value that a flag stands for; empty for other flags."""
    meaning = FLAGS.get(flag.partition(":")[0], "")
    return meaning.removesuffix(_NO_VALUE) if meaning.endswith(_NO_VALUE) else ""


def _fits(made: Calculation, row: Number) -> bool:
    """Whether a calculation can be that of a row, as far as the program says what it is made of."""
    named = [operand.structure for operand in made.operands]
    if made.op == "asymmetry":
        return not all(named) or twin_name(*named) == row.target
    return named[0] in ("", row.target)
