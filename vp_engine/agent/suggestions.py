"""What a prompt may have meant, said with the refusal of an unknown structure; suggested, never assumed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files

import yaml

from vp_engine.agent.wording import in_words
from vp_engine.anatomy import SIDES, STRUCTURES
from vp_engine.environment.instruction import MAX_TEXT, Observation

MOST = 3
"""Structures suggested at most."""

SUGGESTED_FOR = ("unknown_structure", "misread")
"""Codes of refusals that a suggestion belongs to."""

_ALL_NAMES = "`vp ops` lists all names."
_NOUNS = ("nouns", "plurals", "adjectives", "val", "test")
_LONGEST_NAME = 4
_SHORTEST = 5
_MOST_WORDS = 24
_USED = "-"
_SMALL = frozenset(
    (
        *("a", "an", "and", "at", "by", "for", "from", "how", "in", "is", "it"),
        *("many", "much", "of", "on", "or", "the", "to", "what", "which", "with"),
    )
)
# how alike a misspelt name is at least
_ALIKE = 0.82


@dataclass(frozen=True, slots=True)
class Related:
    """What lies near something that is not in the vocabulary.

    Attributes
    ----------
    term : str
        What the prompt calls it; a word of `related.yaml`, not of the prompt.
    nearest : tuple of str
        Names without a side, the nearest first; empty when there is nothing near.
    note : str
        How they relate, or what to ask for instead; may be empty.
    """

    term: str
    nearest: tuple[str, ...]
    note: str = ""


def with_suggestion(observation: Observation, prompt: str) -> Observation:
    """Refusal of an unknown structure, with the nearest that can be measured; everything else as it is.

    Parameters
    ----------
    observation : Observation
        What came of a program.
    prompt : str
        The user's words; none of them is repeated.
    """
    if observation.status != "refused" or observation.code not in SUGGESTED_FOR:
        return observation
    text = suggestion(prompt, known=observation.code == "misread")
    if not text:
        return observation
    message = f"{observation.message} {text}" if observation.code == "misread" else text
    return replace(observation, message=message) if len(message) <= MAX_TEXT else observation


def suggestion(prompt: str, *, known: bool = False) -> str:
    """Sentence that names the structures nearest to what a prompt asks for; empty when nothing is near.

    Parameters
    ----------
    prompt : str
        The user's words.
    known : bool
        Whether what was asked for is in the vocabulary, so that spelling says nothing new.

    Examples
    --------
    >>> suggestion("Volume of the ventral striatum")
    'No "ventral striatum" in the vocabulary; the nearest that can be measured: accumbens. `vp ops` lists all names.'
    """
    found = related(prompt)
    if found is not None:
        start = f'No "{found.term}" in the vocabulary'
        nearest = f"; the nearest that can be measured: {_names(found.nearest)}" if found.nearest else ""
        return " ".join(filter(None, (f"{start}{nearest}.", found.note, _ALL_NAMES)))
    near = () if known else alike(prompt)
    if not near:
        return ""
    return f"No such structure is in the vocabulary; the nearest that can be measured: {_names(near)}. {_ALL_NAMES}"


def related(prompt: str) -> Related | None:
    """Entry of `related.yaml` of the longest term that a prompt has, one with something near before others.

    >>> related("CA1 volumes please").nearest
    ('hippocampus',)
    """
    terms = _terms()
    found = _pattern().findall(_plain(prompt))
    if found:
        return terms[max(found, key=lambda term: (bool(terms[term].nearest), len(term)))]
    by_name, close = _heard(prompt)
    return terms.get(close[0]) if close and not by_name else None


def alike(prompt: str) -> tuple[str, ...]:
    """Structures that a prompt names with a word too much, or nearly by name, the best match first.

    >>> alike("outline the hipocampal heads")
    ('hippocampus',)
    """
    names = _measurable()
    by_name, close = _heard(prompt)
    return tuple(dict.fromkeys(names[name] for name in by_name or close if name in names))[:MOST]


def _heard(prompt: str) -> tuple[list[str], list[str]]:
    """Names of structures in a prompt, and what its other words nearly are: names or terms; longer ones first."""
    words = re.findall(r"[a-z0-9']+", _plain(prompt))[:_MOST_WORDS]
    names = _measurable()
    candidates = [*names, *(term for term in _terms() if term not in names)]
    by_name: list[str] = []
    close: list[str] = []
    for length in range(_LONGEST_NAME, 0, -1):
        for start in range(len(words) - length + 1):
            span = " ".join(words[start : start + length])
            if span in names:
                by_name.append(span)
                # what is a part of a longer name counts no more: "brain stem" is no brain
                words[start : start + length] = [_USED] * length
            elif (
                _USED not in span and len(span) >= _SHORTEST and not {words[start], words[start + length - 1]} & _SMALL
            ):
                close += get_close_matches(span, candidates, n=1, cutoff=_ALIKE)
    return by_name, close


def _names(names: Iterable[str]) -> str:
    return ", ".join(in_words(name) for name in names)


def _plain(prompt: str) -> str:
    """Lower case with single spaces; hyphens, underscores and typographic quotes as one would type them."""
    text = prompt[:1000].lower().replace("\u2019", "'").replace("_", " ")
    return " ".join(text.replace("-", " ").split())


@lru_cache(maxsize=1)
def _terms() -> dict[str, Related]:
    entries = yaml.safe_load(files("vp_engine.agent.language").joinpath("related.yaml").read_text(encoding="utf-8"))
    return {
        _plain(term): Related(term, tuple(entry["nearest"]), entry.get("note", ""))
        for entry in entries
        for term in entry["terms"]
    }


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str]:
    longest_first = sorted(_terms(), key=lambda term: (-len(term), term))
    return re.compile(rf"(?<![a-z0-9])({'|'.join(map(re.escape, longest_first))})(?:s|es)?(?![a-z0-9])")


@lru_cache(maxsize=1)
def _measurable() -> dict[str, str]:
    """What people call the structures that can be delineated → name without a side."""
    groups = yaml.safe_load(files("vp_engine.agent.language").joinpath("structures.yaml").read_text(encoding="utf-8"))
    listed = groups["bilateral"] | groups["unsided"]
    names: dict[str, str] = {}
    for name, structure in STRUCTURES.items():
        if structure.side in SIDES or not structure.parts:
            continue
        words = listed.get(name, {})
        said = [in_words(name), name.replace("_", " "), *structure.synonyms]
        for word in (*said, *(word for kind in _NOUNS for word in words.get(kind, ()))):
            names.setdefault(_plain(str(word)), name)
    return names
