"""Units a prompt asks for, and amounts in words: tables keep the canonical unit, sentences take the one asked for."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

_DIGITS = 3
_IN_PERCENT = ("asymmetry", "ratio")
# "in mL instead of mm3", "not in mm3"
_NOT_WANTED = re.compile(r"(?:\bnot|\bno|\bnever|\binstead of|\brather than|\bfrom)(?: in| the)? *[(\[]?$")
_METRES = r"met(?:re|er)s?"
_LITRES = r"lit(?:re|er)s?"


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit of a sentence.

    Attributes
    ----------
    word : str
        As it is written behind a number.
    canonical : str
        Unit of the tables that it can stand for.
    factor : float
        How many of it one canonical unit is.
    """

    word: str
    canonical: str
    factor: float = 1.0


_SPELLINGS: tuple[tuple[Unit, str], ...] = (
    (Unit("mL", "mm3", 1e-3), rf"mls?|milli{_LITRES}"),
    (Unit("cc", "mm3", 1e-3), r"ccs?"),
    (Unit("cm3", "mm3", 1e-3), rf"cm3|cm\^3|cm³|ccm|cubic[ -]cm|cubic[ -]centi{_METRES}"),
    (Unit("mm3", "mm3"), rf"mm3|mm\^3|mm³|cubic[ -]mm|cubic[ -]milli{_METRES}"),
    (Unit("µL", "mm3"), rf"[uµμ]ls?|micro{_LITRES}"),
    # "L" alone is a side; "in l" at the end of a clause is not
    (Unit("L", "mm3", 1e-6), rf"{_LITRES}|(?<=\bin )l(?= *(?:[.,;?!)]|$))"),
    (Unit("cm2", "mm2", 1e-2), rf"cm2|cm\^2|cm²|sq\.? ?cm|square[ -]cm|square[ -]centi{_METRES}"),
    (Unit("mm2", "mm2"), rf"mm2|mm\^2|mm²|sq\.? ?mm|square[ -]mm|square[ -]milli{_METRES}"),
    (Unit("cm", "mm", 0.1), rf"cm|centi{_METRES}"),
    (Unit("mm", "mm"), rf"mm|milli{_METRES}"),
    (Unit("%", "1", 100.0), r"%|percent(?:ages?)?|per cent|pct"),
)
_PATTERN = re.compile(
    "|".join(rf"(?P<u{number}>{pattern})" for number, (_, pattern) in enumerate(_SPELLINGS)).join(
        (r"(?<![\w.^])(?<!\d )(?<!\d-)(?:", r")(?![\w^²³])")
    )
)

Asked = Mapping[str, tuple[Unit, ...]]
"""Canonical unit → the units asked for in its place, in the order of the prompt."""


def units_asked(prompt: str) -> Asked:
    """Units a prompt names, by the canonical unit they can stand for.

    British and American spelling. A unit behind a number is a length or a threshold of the question and not the unit
    of its answer ("within 5 mm"); neither is one that is not wanted ("in mL instead of mm3").

    Examples
    --------
    >>> [unit.word for unit in units_asked("Lesion volume in cubic centimetres, within 5 mm")["mm3"]]
    ['cm3']
    """
    text = " ".join(prompt.lower().split())
    asked: dict[str, tuple[Unit, ...]] = {}
    for found in _PATTERN.finditer(text):
        if _NOT_WANTED.search(text[: found.start()]):
            continue
        unit = _SPELLINGS[int((found.lastgroup or "u0")[1:])][0]
        before = asked.get(unit.canonical, ())
        if unit not in before:
            asked[unit.canonical] = (*before, unit)
    return asked


def amount(value: float, unit: str, *, measure: str, asked: Asked, signed: bool = False) -> str:
    """Write an amount with its unit.

    Parameters
    ----------
    value : float
        In `unit`.
    unit : str
        As in the tables; per year as ``mm3/year``.
    measure : str
        As in the tables; a ratio or an asymmetry can be in percent.
    asked : mapping
        Of `units_asked`; several units of one kind are all written.
    signed : bool
        Write the sign of a positive number too.

    Examples
    --------
    >>> amount(12345.0, "mm3/year", measure="annual_rate", asked=units_asked("in ml"), signed=True)
    '+12.3 mL per year'
    """
    base, _, per = unit.partition("/")
    units = asked.get(base, ()) if base != "1" or measure in _IN_PERCENT else ()
    whole = measure == "count"
    texts = [
        f"{digits(value * one.factor, signed=signed, whole=whole)} {one.word}" for one in units or (Unit(base, base),)
    ]
    written = [text.removesuffix(" 1") + (f" per {per}" if per else "") for text in texts]
    return written[0] + (f" ({', '.join(written[1:])})" if written[1:] else "")


def digits(value: float, *, signed: bool = False, whole: bool = False) -> str:
    """Write a number with three significant digits, and with all digits before the decimal point.

    >>> digits(3421.44), digits(0.012345), digits(-99.96), digits(12.0, whole=True)
    ('3421', '0.0123', '-100', '12')
    """
    if value == 0:
        return "0"
    rounded = float(f"{value:.{_DIGITS}g}")
    decimals = 0 if whole else max(0, _DIGITS - 1 - math.floor(math.log10(abs(rounded))))
    # above 1000 three digits would be too few: nothing before the decimal point is rounded
    return f"{value if decimals == 0 else rounded:{'+' if signed else ''}.{decimals}f}"
