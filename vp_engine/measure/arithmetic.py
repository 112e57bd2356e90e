"""Numbers made of measured numbers: sides, proportions, change over time."""

from __future__ import annotations

from vp_engine.errors import VoxelPromptError


class UndefinedMeasure(VoxelPromptError, ValueError):
    """A measure has no value for this input; `code` says why (``empty_mask``, ``zero_denominator``)."""

    default_code = "empty_mask"


def asymmetry(left: float, right: float) -> float:
    """Asymmetry index 2 (L - R) / (L + R); positive when the left is larger.

    >>> asymmetry(3.0, 1.0)
    1.0

    Raises
    ------
    UndefinedMeasure
        If L + R is 0.
    """
    return 2.0 * _quotient(left - right, left + right, "asymmetry")


def ratio(a: float, b: float) -> float:
    """Quotient a / b.

    Raises
    ------
    UndefinedMeasure
        If b is 0.
    """
    return _quotient(a, b, "ratio")


def change(a: float, b: float) -> float:
    """Difference b - a from the earlier a to the later b."""
    return b - a


def percent_change(a: float, b: float) -> float:
    """Change from the earlier a to the later b in percent of a.

    >>> percent_change(200.0, 190.0)
    -5.0

    Raises
    ------
    UndefinedMeasure
        If a is 0.
    """
    return 100.0 * _quotient(b - a, a, "percent_change")


def annual_rate(a: float, b: float, years: float) -> float:
    """Change from the earlier a to the later b per year.

    Parameters
    ----------
    a, b : float
        Values, in any one unit.
    years : float
        Time between them, above 0.

    Raises
    ------
    UndefinedMeasure
        If no time passed.
    """
    if years <= 0:
        raise UndefinedMeasure(f"annual_rate needs years > 0, got {years}", code="zero_denominator")
    return (b - a) / years


def _quotient(numerator: float, denominator: float, what: str) -> float:
    if denominator == 0:
        raise UndefinedMeasure(f"{what} needs a denominator other than 0", code="zero_denominator")
    return numerator / denominator
