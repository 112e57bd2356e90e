"""Does the program speak of every structure the prompt names, and are there others? Words decide, not the model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.resources import files
from itertools import chain
from types import MappingProxyType

import yaml

from vp_engine.anatomy import SIDES, STRUCTURES, without_side
from vp_engine.environment.vocabulary import LOBES

# Words that also say where one looks ("brain scan", "in each hemisphere") or that other words contain.
_NOT_COUNTED = frozenset({"brain", "cerebrum"})
_SAME = {"lesion": "white_matter_lesion"}
# What a part of something is said of, or what a piece lies in, need not be in the program: "edema around the tumor",
# "lesions in the deep white matter", "brighter than white matter"
_OF_TUMORS = ("tumor_core", "enhancing_tumor", "non_enhancing_tumor", "edema", "resection_cavity")
_COVERED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **dict.fromkeys(_OF_TUMORS, ("tumor", "tumor_core")),
        "tumor_core": ("tumor", "edema"),  # tumor without edema
        "mass_effect": ("ventricles",),
        **dict.fromkeys(LOBES, ("white_matter", "cerebral_white_matter", "cerebral_cortex")),
        "deep_white_matter": ("white_matter", "cerebral_white_matter"),
        "juxtacortical": ("white_matter", "cerebral_cortex"),
        "periventricular": ("white_matter",),
        "infratentorial": ("cerebellum", "brainstem"),
        "deep_gray_matter": ("gray_matter", "basal_ganglia", "thalamus"),
    }
)
_AGAINST_WHITE_MATTER = ("relative_intensity(", "with_signal(", "describe(")
_PATHOLOGY = frozenset(name for name, structure in STRUCTURES.items() if structure.kind == "pathology")
_KINDS = ("nouns", "plurals", "val", "test")
_SHORTEST = 4
_OF_REFUSALS = ("refusals.yaml", "related.yaml")
_LANGUAGE = files("vp_engine.agent.language")
_SPACES = str.maketrans("_-", "  ")
# "a tumour patient with known stroke", "had a stroke in 2018" are about the patient
_BEFORE_DISEASES = ("known", "suspected", "possible", "probable", "history of", "had a", "had an", "suffered a",
                    "diagnosed with", "diagnosis of", "treated for", "treated for a", "surgery for a", "surgery for",
                    "operated for a", "resection of a", "status post", "recovering from a")  # fmt: skip
_KNOWN = "".join(f"(?<!{word} )" for word in _BEFORE_DISEASES)
_OF_PEOPLE = r"(?! (?:patient|case|board|study|trial|cohort|clinic|group)s?(?![a-z]))"
# A word this long may have two wrong letters and still be known, a shorter one one.
_TWICE_MISSPELT = 8
_SHORT_BUT_CLEAR = frozenset({"icv", "tiv", "wmh", "csf"})


def left_out(prompt: str, code: str) -> tuple[str, ...]:
    """Structures that the prompt names and the code does not use, by base name, in order of their mention.

    A structure is named by one of the nouns of the language files or by its canonical name; the longest match counts.
    A misspelt word that tells one structure from another ("wihte matter") is read as that word.
    Any side, and any program over all parts, covers it.

    Examples
    --------
    >>> left_out("Outline caudate and putamen", 'save(segment(scan(current), "left_caudate"))')
    ('putamen',)
    """
    if "parcels(" in code:
        return ()
    words = re.findall(r'"([a-z_]+)"', code)
    used = {_base(name) for name in words}
    used.update(covered for word in words for covered in _COVERED.get(re.sub("^(left|right)_", "", word), ()))
    if any(op in code for op in _AGAINST_WHITE_MATTER):
        used.update(("white_matter", "cerebral_white_matter"))
    if used & _PATHOLOGY:
        used.add(_SAME["lesion"])
    return tuple(name for name in _mentioned(prompt) if name not in used)


def all_known(prompt: str) -> bool:
    """Whether the prompt names a structure and has no word that is never used to ask for what there is.

    Examples
    --------
    >>> all_known("Outline the left caudate nucleus"), all_known("Outline the left claustrum")
    (True, False)
    """
    words = re.findall(r"[a-z]+", prompt.lower())
    return _words_of_requests().issuperset(words) and any(True for _ in _mentioned(prompt))


@lru_cache(maxsize=1)
def _words_of_requests() -> frozenset[str]:
    """Every word of the language files but those of what is refused."""
    texts = (text for name, text in _texts().items() if name not in _OF_REFUSALS)
    return frozenset(word for text in texts for word in re.findall(r"[a-z]+", text.lower()))


def _mentioned(prompt: str) -> Iterable[str]:
    text = " ".join(re.sub(r"[a-z]+", _respelt, prompt.lower().translate(_SPACES)).split())
    names = _names()
    found = (base for name in _pattern().findall(text) for base in names[name])
    return dict.fromkeys(base for base in found if base not in _NOT_COUNTED)


def _respelt(found: re.Match[str]) -> str:
    word = found.group()
    known = _spellings()
    if len(word) < _SHORTEST or known.get(word) == word:
        return word
    return next((known[s] for s in _with_letters_missing(word) if s in known and known[s][0] == word[0]), word)


def _with_letters_missing(word: str) -> list[str]:
    """The word and what is left of it without one letter, of a long word without two; the longest first."""
    levels = [[word]]
    for _ in range(2 if len(word) >= _TWICE_MISSPELT else 1):
        levels.append([w[:at] + w[at + 1 :] for w in levels[-1] for at in range(len(w))])
    return list(dict.fromkeys(chain.from_iterable(levels)))


@lru_cache(maxsize=1)
def _spellings() -> dict[str, str]:
    """Words of the longer names, whole and with letters missing → the word; what is an own name is not guessed.

    Words of the language files stand for themselves: a "mask" is no "mass".
    """
    names = _names()
    words = sorted({w for name in names if " " in name for w in re.findall(r"[a-z]+", name) if len(w) >= _SHORTEST})
    spelt = {word: word for text in _texts().values() for word in re.findall(r"[a-z]+", text.lower())}
    for word in words:
        if word not in names:
            for spelling in _with_letters_missing(word):
                spelt.setdefault(spelling, word)
    return spelt


def _base(name: str) -> str:
    bare = without_side(name)
    return _SAME.get(bare, bare)


@lru_cache(maxsize=1)
def _texts() -> dict[str, str]:
    """Language files by name."""
    return {one.name: one.read_text(encoding="utf-8") for one in _LANGUAGE.iterdir() if one.name.endswith(".yaml")}


@lru_cache(maxsize=1)
def _names() -> dict[str, tuple[str, ...]]:
    """Every noun in lower case → base names of what it names."""
    data = _LANGUAGE.joinpath("structures.yaml").read_bytes()
    groups = yaml.load(data, Loader=yaml.CSafeLoader)
    listed = groups["bilateral"] | groups["unsided"]
    names: dict[str, tuple[str, ...]] = {"ventricle": ("ventricles",)}  # which of them, other words must say
    for joint in groups["joint"]:
        names |= {str(word): tuple(map(_base, joint["bases"])) for word in (*joint["nouns"], *joint["adjectives"])}
    for base, structure in STRUCTURES.items():
        if structure.side in SIDES:
            continue
        words = listed.get(base, {})
        nouns = [base.replace("_", " "), *structure.synonyms, *(w for kind in _KINDS for w in words.get(kind, ()))]
        for word in nouns:
            if len(word) >= _SHORTEST or word in _SHORT_BUT_CLEAR:
                names.setdefault(word.lower(), (_base(base),))
    # "entire cerebellum" must not take its first word from "entire cerebellum cortex"
    named = {name.translate(_SPACES): bases for name, bases in names.items()}
    return {name: bases for name, bases in named.items() if named.get(name.partition(" ")[2]) != bases}


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str]:
    longest_first = sorted(_names(), key=lambda word: (-len(word), word))
    names = "|".join(map(re.escape, longest_first))
    return re.compile(rf"(?<![a-z0-9]){_KNOWN}(?:{names})(?![a-z0-9]){_OF_PEOPLE}")
