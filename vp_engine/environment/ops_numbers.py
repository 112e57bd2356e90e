"""Ops from numbers to numbers: sides, proportions, changes between sessions, comparisons.

An undefined operand makes the result undefined and hands on its flags. The confidence of a result is the
lowest of its operands'.
"""

from __future__ import annotations

from collections.abc import Callable

from vp_engine.anatomy import SIDES, without_side
from vp_engine.environment.misuse import Misuse
from vp_engine.environment.regions import twin_name
from vp_engine.environment.registry import Context
from vp_engine.environment.values import Number, SessionInfo, Text
from vp_engine.environment.vocabulary import REASONS
from vp_engine.errors import RequestRefused
from vp_engine.measure import arithmetic

EQUAL_WITHIN = 0.01
"""Relative difference up to which `compare` calls two numbers equal."""


def asymmetry(left: Number, right: Number) -> Number:
    """Asymmetry index 2 (L - R) / (L + R) of one measure of the two sides (unit 1).

    Positive when the left is larger. Belongs to the bilateral structure: ``left_hippocampus`` and
    ``right_hippocampus`` give ``hippocampus``, and their anterior parts ``hippocampus_anterior_part``. Undefined when
    both are 0.

    Parameters
    ----------
    left, right : Number
        The same measure of the left and the right half of one structure, or of regions that differ in their sides
        alone, in one session.

    Returns
    -------
    Number
        From -2 to 2.
    """
    _require_alike(left, right)
    target = bilateral_name(left.target, right.target)
    if left.session != right.session:
        raise Misuse(
            "asymmetry is within one session", code="different_sessions", expected="one session", got="two sessions"
        )
    return combined(left, right, "asymmetry", "1", arithmetic.asymmetry, target=target)


def ratio(a: Number, b: Number) -> Number:
    """Quotient a / b of two numbers with the same unit (unit 1).

    Belongs to the structure of the first: ``ratio(volume(hippocampus), volume(intracranial_volume))`` is a row of
    ``hippocampus``. Undefined when b is 0.
    """
    _require_same_unit(a, b)
    return combined(a, b, "ratio", "1", arithmetic.ratio)


def change(context: Context, earlier: Number, later: Number) -> Number:
    """Difference later - earlier of one measure between two sessions, in its unit.

    Parameters
    ----------
    earlier, later : Number
        The same measure of the same structure in two sessions; the first is the reference.
    """
    _require_sessions(context, earlier, later)
    return combined(later, earlier, "change", later.unit, _swapped(arithmetic.change))


def percent_change(context: Context, earlier: Number, later: Number) -> Number:
    """Change 100 (later - earlier) / earlier of one measure between two sessions, in %.

    Undefined when the earlier number is 0.

    Parameters
    ----------
    earlier, later : Number
        The same measure of the same structure in two sessions; the first is the reference.
    """
    _require_sessions(context, earlier, later)
    return combined(later, earlier, "percent_change", "%", _swapped(arithmetic.percent_change))


def annual_rate(context: Context, earlier: Number, later: Number) -> Number:
    """Change of one measure per year of 365.25 days, in its unit per year.

    Parameters
    ----------
    earlier, later : Number
        The same measure of the same structure in two sessions; the first is the reference.

    Raises
    ------
    RequestRefused
        If the dates of the sessions are not known or are the same day.
    """
    _require_sessions(context, earlier, later)
    years = _years(earlier.session, later.session)
    return combined(
        later, earlier, "annual_rate", f"{later.unit}/year", lambda b, a: arithmetic.annual_rate(a, b, years)
    )


def annual_percent_rate(context: Context, earlier: Number, later: Number) -> Number:
    """Percent change of one measure per year of 365.25 days, in %/year; a row of measure ``annual_rate``.

    Linear, not compounded. Undefined when the earlier number is 0.

    Parameters
    ----------
    earlier, later : Number
        The same measure of the same structure in two sessions; the first is the reference.

    Raises
    ------
    RequestRefused
        If the dates of the sessions are not known or are the same day.
    """
    _require_sessions(context, earlier, later)
    years = _years(earlier.session, later.session)
    return combined(later, earlier, "annual_rate", "%/year", lambda b, a: arithmetic.percent_change(a, b) / years)


def compare(context: Context, a: Number, b: Number) -> Text:
    """Say whether a is ``greater`` than b, ``less``, or ``equal``.

    Equal means closer than 1 % of the larger magnitude.

    Raises
    ------
    RequestRefused
        If one of them is undefined, or if two visits are meant and there is one.
    """
    _require_same_unit(a, b)
    if a == b and len(context.world.sessions) < 2:  # what a program for two visits comes to
        raise RequestRefused(REASONS["one_session"], code="one_session")
    first, second = defined(a), defined(b)
    if abs(first - second) <= EQUAL_WITHIN * max(abs(first), abs(second)):
        return Text("equal")
    return Text("greater" if first > second else "less")


def combined(
    a: Number,
    b: Number,
    measure: str,
    unit: str,
    compute: Callable[[float, float], float],
    *,
    target: str | None = None,
) -> Number:
    """Number made of two: value, lowest confidence, union of flags; session and image of `a`, reference `b`.

    Parameters
    ----------
    a, b : Number
        Operands; the row belongs to `a`.
    measure, unit : str
        Of the result.
    compute : callable
        From the two values to the new one; raises `arithmetic.UndefinedMeasure` where there is none.
    target : str, optional
        Structure of the row, when it is not that of `a`.

    Returns
    -------
    Number
        Undefined when an operand is.
    """
    flags = {*a.flags, *b.flags}
    value: float | None = None
    if a.value is not None and b.value is not None:
        try:
            value = compute(a.value, b.value)
        except arithmetic.UndefinedMeasure as error:
            flags.add(error.code)
    if a.image != b.image:
        flags.add("different_images")
    return Number(
        value=value,
        unit=unit,
        target=target or a.target,
        measure=measure,
        image=a.image,
        session=a.session,
        reference_session=b.session if b.session != a.session else a.reference_session,
        qc_score=min((n.qc_score for n in (a, b) if n.qc_score is not None), default=None),
        flags=tuple(sorted(flags)),
    )


def defined(number: Number) -> float:
    """Value of a number.

    Raises
    ------
    RequestRefused
        If it is undefined.
    """
    if number.value is None:
        why = ", ".join(number.flags) or "no value"
        raise RequestRefused(
            f"{number.measure} of {number.target} is undefined here ({why}), so that it cannot be compared; "
            "look at the mask, and ask for the number alone",
            code="undefined_value",
        )
    return number.value


def bilateral_name(left: str, right: str) -> str:
    """Structure that an asymmetry of two sides belongs to.

    Raises
    ------
    Misuse
        If the two are not the left and the right half of one structure, in this order.

    >>> bilateral_name("left_hippocampus", "right_hippocampus")
    'hippocampus'
    """
    both = twin_name(left, right)
    if both is None:
        raise Misuse(
            "asymmetry needs the left and then the right half of one structure",
            code="not_two_sides",
            expected=" and ".join(f"{side}_{without_side(left)}" for side in SIDES),
            got=f"{left} and {right}",
        )
    return both


def _swapped(compute: Callable[[float, float], float]) -> Callable[[float, float], float]:
    return lambda b, a: compute(a, b)


def _years(earlier: SessionInfo, later: SessionInfo) -> float:
    if earlier.acquired is None or later.acquired is None:
        raise RequestRefused(
            "a rate per year needs the dates of both sessions; add the column acq_time to the sessions table, "
            "or ask for the change alone",
            code="no_dates",
        )
    days = (later.acquired - earlier.acquired).days
    if days <= 0:
        raise RequestRefused(
            f"a rate per year needs a later second session; the two are {days} days apart: correct acq_time in the "
            "sessions table, or ask for the change alone",
            code="no_dates",
        )
    return days / 365.25


def _require_same_unit(a: Number, b: Number) -> None:
    if a.unit != b.unit:
        raise Misuse("the two numbers have different units", code="unit_mismatch", expected=a.unit, got=b.unit)


def _require_alike(a: Number, b: Number) -> None:
    _require_same_unit(a, b)
    if a.measure != b.measure:
        raise Misuse(
            "the two numbers are of different measures", code="measure_mismatch", expected=a.measure, got=b.measure
        )


def _require_sessions(context: Context, earlier: Number, later: Number) -> None:
    sessions = context.world.sessions
    if len(sessions) < 2:
        raise RequestRefused(REASONS["one_session"], code="one_session")
    _require_alike(earlier, later)
    if earlier.target != later.target:
        raise Misuse("a change is of one structure", code="target_mismatch", expected=earlier.target, got=later.target)
    if earlier.reference_session is not None or later.reference_session is not None:
        raise Misuse(
            "a change of a change has no meaning here",
            code="nested_change",
            expected="numbers of one session each",
            got=later.measure,
        )
    if sessions.index(earlier.session) >= sessions.index(later.session):
        raise Misuse(
            "a change needs an earlier and then a later session",
            code="session_order",
            expected="the earlier session first",
            got="the same session" if earlier.session == later.session else "the later session first",
        )


FUNCTIONS = (asymmetry, ratio, change, percent_change, annual_rate, annual_percent_rate, compare)
