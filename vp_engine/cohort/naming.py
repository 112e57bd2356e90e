"""From the words a person types for a structure to its canonical name, without a language model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache

from vp_engine.anatomy import STRUCTURES
from vp_engine.errors import RequestRefused

_SIDES = {"lh": "left", "l": "left", "rh": "right", "r": "right", "left": "left", "right": "right"}
_PLURALS = (("i", "us"), ("ices", "ex"), ("ae", "a"), ("ies", "y"), ("ina", "en"), ("s", ""))


def structure_named(text: str) -> str:
    """Canonical name of a structure from ordinary words.

    Parameters
    ----------
    text : str
        Such as ``Left hippocampus``, ``left_hippocampus``, ``hippocampus L``, ``wmh``.

    Raises
    ------
    RequestRefused
        If no structure is called that; the message has the nearest names.

    Examples
    --------
    >>> structure_named("Lateral Ventricles, rh"), structure_named("3rd ventricle"), structure_named("icv")
    ('right_lateral_ventricle', 'third_ventricle', 'intracranial_volume')
    """
    known = _names()
    for candidate in _readings(text):
        if candidate in known:
            return known[candidate]
    words = " ".join(_words(text))
    close = [known[name] for name in get_close_matches(words, sorted(known), n=6, cutoff=0.6)]
    hint = f"did you mean {', '.join(dict.fromkeys(close))}?" if close else "`vp ops` lists the names."
    raise RequestRefused(f"Expected the name of a structure, got {text[:80]!r}; {hint}", code="unknown_structure")


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower().replace("-", " ").replace("_", " "))


def _readings(text: str) -> Iterator[str]:
    """The words as they stand, with the side moved to the front, and each with the last word in the singular."""
    words = [word for word in _words(text) if word not in ("the", "of")] or [""]
    orders = [words]
    if len(words) > 1 and words[0] in _SIDES:
        orders.append([_SIDES[words[0]], *words[1:]])
    if len(words) > 1 and words[-1] in _SIDES:
        orders.append([_SIDES[words[-1]], *words[:-1]])
    for order in orders:
        yield " ".join(order)
        for plural, singular in _PLURALS:
            if order[-1].endswith(plural):
                yield " ".join([*order[:-1], order[-1].removesuffix(plural) + singular])


@cache
def _names() -> dict[str, str]:
    names: dict[str, str] = {}
    for structure in STRUCTURES.values():
        side = f"{structure.side} " if structure.kind == "part" and structure.side in ("left", "right") else ""
        for synonym in structure.synonyms:
            words = [word for word in _words(synonym) if word not in ("the", "of")]
            names.setdefault(side + " ".join(words), structure.name)
    return names | {" ".join(_words(name)): name for name in STRUCTURES}
