"""The data files of the language, read for one of its three disjoint splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from random import Random
from typing import Any, Literal

import yaml

from vp_engine.agent.language.grammar import Slots, Template, expand, parse_template
from vp_engine.anatomy import BILATERAL_NAMES, SIDES, STRUCTURES

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Words:
    """What one structure is called."""

    nouns: tuple[str, ...]
    plurals: tuple[str, ...]
    adjectives: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Words and sentences of one split.

    Attributes
    ----------
    split : str
        ``train``, ``val`` or ``test``; sentence templates are disjoint between them, and so are the words
        of the files that are not marked ``any``.
    names : mapping of str to Words
        Structures by base name; ``hemisphere`` and ``icv`` (names that say volume themselves) among them.
    joint : mapping of tuple of str to Words
        Phrases that name several structures in a row, by their base names.
    rules : mapping of str to templates
        Phrases by name.
    sentences : mapping of str to templates
        Templates by intent; those of ``ask`` as ``ask_volume``, those of refusals as ``refuse_diagnosis``.
    words : mapping of str to words
        Lists of things that are refused.
    heads : tuple of str
        Words that may follow the adjective of any structure: "hippocampal region".
    """

    split: Split
    names: Mapping[str, Words]
    joint: Mapping[tuple[str, ...], Words]
    rules: Mapping[str, tuple[Template, ...]]
    sentences: Mapping[str, tuple[Template, ...]]
    words: Mapping[str, tuple[str, ...]]
    heads: tuple[str, ...] = ()

    def phrase(self, name: str, rng: Random, slots: Slots | None = None) -> str:
        """Draw one phrase of a rule."""
        return expand(rng.choice(self.rules[name]), rules=self.rules, slots=slots or {}, rng=rng)

    def fill(self, template: Template, rng: Random, slots: Slots) -> str:
        """Draw one sentence from a template."""
        return expand(template, rules=self.rules, slots=slots, rng=rng)


@lru_cache(maxsize=3)
def lexicon(split: Split) -> Lexicon:
    """Read the language of one split from the data files of this package."""
    structures, phrases, templates, refusals = map(_read, ("structures", "phrases", "templates", "refusals"))
    for more in map(_read, ("regions", "questions", "lesions")):
        phrases |= more["phrases"]
        templates |= more["sentences"]
    rules = {name: _templates(entry, split, "any") for name, entry in phrases.items()}
    for name in ("measure_np", "all_structures"):
        rules[name] = _templates(templates.pop(name), split, "any")
    ask = templates.pop("ask")
    sentences = {name: _templates(entry, split) for name, entry in templates.items()}
    sentences |= {f"ask_{name}": _templates(entry, split) for name, entry in ask.items()}
    sentences |= {f"refuse_{name}": _templates(entry, split) for name, entry in refusals["refusals"].items()}
    return Lexicon(
        split=split,
        names=_names(structures, split),
        joint=_joint(structures, split),
        rules=rules,
        sentences=sentences,
        words={name: _share(words, split) for name, words in refusals["words"].items()},
        heads=tuple(structures["heads"][split]),
    )


def _read(name: str) -> dict[str, Any]:
    loaded = yaml.safe_load(files("vp_engine.agent.language").joinpath(f"{name}.yaml").read_text(encoding="utf-8"))
    if not isinstance(loaded, dict):
        raise TypeError(f"expected a mapping in the language file {name}.yaml, got {type(loaded).__name__}")
    return loaded


def _templates(entry: Mapping[str, list[str]], split: Split, *shared: str) -> tuple[Template, ...]:
    texts = [text for key in (*shared, split) for text in entry.get(key, ())]
    # an intent without sentences of its own in this split is simply not drawn there
    return tuple(parse_template(str(text)) for text in texts)


def _share(words: list[str], split: Split) -> tuple[str, ...]:
    kept = {"train": range(8), "val": range(8, 9), "test": range(9, 10)}[split]
    return tuple(str(word) for index, word in enumerate(words) if index % 10 in kept)


def _names(structures: Mapping[str, Any], split: Split) -> dict[str, Words]:
    names: dict[str, Words] = {}
    for base, entry in (*structures["bilateral"].items(), *structures["unsided"].items()):
        names[base] = _words(entry, split, STRUCTURES[base].synonyms)
    for extra in ("hemisphere", "icv"):
        names[extra] = _words(structures[extra], split, ())
    expected = {name for name, s in STRUCTURES.items() if s.side not in SIDES} | {"hemisphere", "icv"}
    if set(names) != expected or not set(BILATERAL_NAMES) <= set(names):
        raise ValueError(f"structures.yaml and anatomy.py differ in {sorted(set(names) ^ expected)}")
    return names


def _joint(structures: Mapping[str, Any], split: Split) -> dict[tuple[str, ...], Words]:
    # these phrases are made of the words of training
    entries = structures["joint"] if split == "train" else ()
    return {tuple(e["bases"]): Words(tuple(e["nouns"]), (), tuple(e["adjectives"])) for e in entries}


def _words(entry: Mapping[str, list[str]], split: Split, synonyms: tuple[str, ...]) -> Words:
    plurals = {str(word) for word in entry.get("plurals", ())}
    nouns = [str(word) for word in entry["nouns"]]
    # the first noun is the usual word: it is as likely as all the others together in small lists
    nouns += [word for word in synonyms if word not in nouns and word not in plurals]
    nouns = [nouns[0]] * 4 + nouns + [str(word) for word in entry.get(split, ()) for _ in range(4)]
    return Words(tuple(nouns), tuple(sorted(plurals)), tuple(str(word) for word in entry["adjectives"]))
