"""Lengths as people write them."""

from __future__ import annotations

from random import Random

from vp_engine.agent.language.sentences import Slotted
from vp_engine.environment.vocabulary import LENGTHS_MM

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
            "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty")  # fmt: skip
_WIDE = (1, 2, 3, 3, 4, 5, 5, 5, 6, 7, 8, 10, 10, 10, 12, 15, 20)
_THIN = (1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 5, 5)


def length_words(length: str, rng: Random, *, attributive: bool = False) -> str:
    """A length as people write it.

    >>> length_words("10mm", Random(3))
    '10 millimetres'
    """
    mm = LENGTHS_MM[length]
    draw = rng.random()
    if mm % 5 == 0 and draw < 0.3:
        number = {5: rng.choice(("0.5", "half a", ".5")), 10: rng.choice(("1", "1", "one"))}.get(mm, f"{mm / 10:g}")
        unit = rng.choice(("cm", "cm", "centimetre", "centimeter"))
        plural = "s" if mm > 10 and unit != "cm" and not attributive else ""
        return f"{number}{' ' if number.isalpha() or ' ' in number else rng.choice((' ', ' ', ''))}{unit}{plural}"
    number = _NUMBERS[mm] if draw > 0.88 else str(mm)
    unit = rng.choice(("mm", "mm", "mm", "mm", "millimetre", "millimeter"))
    plural = "s" if mm > 1 and unit != "mm" and not attributive else ""
    joint = " " if unit != "mm" or number.isalpha() else rng.choice((" ", " ", ""))
    if attributive and rng.random() < 0.4:
        joint = "-"
    return f"{number}{joint}{unit}{plural}"


def length_slots(length: str, rng: Random) -> Slotted:
    """{L} and {Lh} of a length."""
    return {"L": lambda: length_words(length, rng), "Lh": lambda: length_words(length, rng, attributive=True)}


def some_length(rng: Random, *, thin: bool = False) -> str:
    """A length, the usual ones more often; any of them sometimes."""
    if rng.random() < 0.25:
        return rng.choice(tuple(LENGTHS_MM))
    return f"{rng.choice(_THIN if thin else _WIDE)}mm"
