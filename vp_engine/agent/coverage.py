"""Does the program speak of every structure the prompt names? Words decide, not the model."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from importlib.resources import files

import yaml

from vp_engine.anatomy import SIDES, STRUCTURES, without_side

# Words that also say where one looks ("brain scan", "in each hemisphere") or that other words contain.
_NOT_COUNTED = frozenset({"brain", "cerebrum"})
_SAME = {"lesion": "white_matter_lesion"}
_KINDS = ("nouns", "plurals", "val", "test")
_SHORTEST = 4
_SHORT_BUT_CLEAR = frozenset({"icv", "tiv", "wmh", "csf"})


def left_out(prompt: str, code: str) -> tuple[str, ...]:
    """Structures that the prompt names and the code does not use, by base name, in order of their mention.

    A structure is named by one of the nouns of the language files or by its canonical name; the longest match counts.
    Any side, and any program over all parts, covers it.

    Examples
    --------
    >>> left_out("Outline caudate and putamen", 'save(segment(scan(current), "left_caudate"))')
    ('putamen',)
    """
    if "parcels(" in code:
        return ()
    used = {_base(name) for name in re.findall(r'"([a-z_]+)"', code)}
    return tuple(name for name in _mentioned(prompt) if name not in used)


def _mentioned(prompt: str) -> Iterable[str]:
    text = prompt.lower().replace("_", " ")
    names = _names()
    return dict.fromkeys(names[found] for found in _pattern().findall(text) if names[found] not in _NOT_COUNTED)


def _base(name: str) -> str:
    bare = without_side(name)
    return _SAME.get(bare, bare)


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    """Every noun in lower case → base name of what it names."""
    data = files("vp_engine.agent.language").joinpath("structures.yaml").read_bytes()
    listed: dict[str, dict[str, list[str]]] = {}
    for group in yaml.load(data, Loader=yaml.CSafeLoader).values():
        listed |= group if "nouns" not in group else {}
    names = {"ventricle": "ventricles"}  # which of them, other words must say
    for base, structure in STRUCTURES.items():
        if structure.side in SIDES:
            continue
        words = listed.get(base, {})
        nouns = [base.replace("_", " "), *structure.synonyms, *(w for kind in _KINDS for w in words.get(kind, ()))]
        for word in nouns:
            if len(word) >= _SHORTEST or word in _SHORT_BUT_CLEAR:
                names.setdefault(word.lower(), _base(base))
    return names


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str]:
    longest_first = sorted(_names(), key=lambda word: (-len(word), word))
    return re.compile(r"(?<![a-z0-9])(?:" + "|".join(map(re.escape, longest_first)) + r")(?![a-z0-9])")
