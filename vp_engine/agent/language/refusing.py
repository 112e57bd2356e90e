"""Draw a prompt that is to be refused, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from random import Random

from vp_engine.agent.language.choosing import MEASURES, PATHOLOGY
from vp_engine.agent.language.lengths import length_words, some_length
from vp_engine.agent.language.lexicon import Lexicon, Words
from vp_engine.agent.language.questions import (
    draw_brightness,
    draw_presence,
    draw_quality,
    draw_question,
    draw_side_numbers,
)
from vp_engine.agent.language.region_requests import (
    draw_cutout,
    draw_region_asymmetry,
    draw_region_change,
    draw_region_measure,
    draw_region_ratio,
    draw_region_show,
)
from vp_engine.agent.language.requests import (
    draw_asymmetry,
    draw_change,
    draw_distance,
    draw_measure,
    draw_ratio,
    draw_short,
    draw_show,
    draw_unmeasurable,
)
from vp_engine.anatomy import BILATERAL_NAMES, STRUCTURES

_REASON_WEIGHTS = {
    "out_of_domain": 28,
    "unknown_structure": 26,
    "diagnosis": 11,
    "prognosis": 8,
    "unsupported_measure": 11,
    "instruction_injection": 10,
    "ambiguous": 5,
}
_COMPOSITES = tuple(
    name for name, s in STRUCTURES.items() if s.side == "none" and s.kind != "pathology" and name != "csf"
)
_NAMED = tuple(name for name, s in STRUCTURES.items() if s.side in ("both", "none") and name != "intracranial_volume")
_AS_REQUEST = {"unknown_structure": 0.55, "out_of_domain": 0.2, "unsupported_measure": 0.5}
_DRAWS = {
    draw_measure: 32,
    draw_short: 15,
    draw_show: 11,
    draw_asymmetry: 4,
    draw_ratio: 5,
    draw_distance: 2,
    draw_change: 7,
    draw_question: 4,
    draw_region_measure: 11,
    draw_region_show: 5,
    draw_region_ratio: 2,
    draw_region_change: 2,
    draw_region_asymmetry: 1,
    draw_cutout: 5,
    draw_presence: 4,
    draw_brightness: 3,
    draw_quality: 3,
    draw_side_numbers: 1,
}
_MIXED_SHARE = 0.4
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_STARTS = (
    "b",
    "br",
    "c",
    "cl",
    "d",
    "f",
    "fl",
    "g",
    "gr",
    "l",
    "m",
    "n",
    "p",
    "pr",
    "r",
    "s",
    "st",
    "t",
    "tr",
    "v",
    "z",
)
_VOWELS = ("a", "e", "i", "o", "u", "ae", "ia", "y")
_ENDINGS = ("us", "um", "a", "is", "ar nucleus", "al gyrus", "al cortex", "al nucleus", "ine area", "al sulcus", "ium",
            "oid body", "ata", "ine tract", "al lobule", "ans", "ex", "ula")  # fmt: skip


def draw_refusal(lexicon: Lexicon, rng: Random) -> tuple[str, str]:
    """Draw a sentence and the reason for which it is refused."""
    reason = rng.choices(tuple(_REASON_WEIGHTS), tuple(_REASON_WEIGHTS.values()))[0]
    # half of them in the very sentences that are answered: only the word for what is wanted may tell
    if reason in ("unknown_structure", "out_of_domain") and rng.random() < _AS_REQUEST[reason]:
        return reason, _stranger_asked_for(reason, lexicon, rng)
    if reason == "unsupported_measure" and rng.random() < _AS_REQUEST[reason]:
        return reason, draw_unmeasurable(lexicon, rng, rng.choice(lexicon.words["measure_other"]))
    template = rng.choice(lexicon.sentences[f"refuse_{reason}"])
    slots: dict[str, str | Callable[[], str]] = {
        name: partial(rng.choice, words) for name, words in lexicon.words.items()
    }
    slots |= {
        "structure": lambda: _structure(lexicon, rng),
        "unsided": lambda: rng.choice(lexicon.names[rng.choice(_COMPOSITES)].nouns),
        "lesion_like": lambda: rng.choice(_plurals(lexicon, rng.choice(PATHOLOGY))),
        "lesion_one": lambda: rng.choice(lexicon.names[rng.choice(PATHOLOGY)].nouns),
        "length": lambda: length_words(some_length(rng), rng),
        "amount": lambda: _amount(rng),
        "amount_length": lambda: length_words(some_length(rng), rng),
        "few": lambda: rng.choice(("2", "3", "5", "ten", "nine", "20", "three", "a dozen", "100", "1")),
        "anymeasure": lambda: lexicon.phrase(rng.choice(("volume", "volume", *MEASURES)), rng),
        "pseudo": lambda: pseudo_latin(rng),
        "nonsense": lambda: nonsense(rng),
    }
    return reason, lexicon.fill(template, rng, slots)


class _Names(dict[str, Words]):
    """What structures are called; a name that is missing is made up when it is asked for."""

    def __init__(self, known: Mapping[str, Words], make_up: Callable[[], Words]) -> None:
        super().__init__(known)
        self._make_up = make_up
        self.made_up = False

    def __missing__(self, base: str) -> Words:
        self.made_up = True
        self[base] = self._make_up()
        return self[base]


def _stranger_asked_for(reason: str, lexicon: Lexicon, rng: Random) -> str:
    """A request in which the names of some or of all structures are exchanged for what is no structure."""
    draw = rng.choices(tuple(_DRAWS), tuple(_DRAWS.values()))[0]
    mixed = rng.random() < _MIXED_SHARE
    while True:
        known = {
            base: words for base, words in lexicon.names.items() if base == "icv" or (mixed and rng.random() < 0.5)
        }
        names = _Names(known, partial(_stranger, reason, lexicon, rng))
        sentence = draw(replace(lexicon, names=names, joint={}), rng)[1]
        if names.made_up:
            return sentence


def _stranger(reason: str, lexicon: Lexicon, rng: Random) -> Words:
    """Words for something that is no structure of the vocabulary."""
    if reason == "out_of_domain":
        noun = rng.choice(lexicon.words["organ" if rng.random() < 0.75 else "thing"])
        return Words((noun,), (), (noun, rng.choice(lexicon.words["organ_adjective"])))
    draw = rng.random()
    if draw < 0.08 and lexicon.heads:
        # a general word after a strange adjective makes no structure of it
        noun = f"{rng.choice(lexicon.words['brain_other_adjective'])} {rng.choice(lexicon.heads)}"
    elif draw < 0.2:
        noun = f"{rng.choice(lexicon.words['modifier'])} {rng.choice(lexicon.words['modifiable'])}"
    else:
        noun = pseudo_latin(rng) if draw < 0.32 else rng.choice(lexicon.words["brain_other"])
    return Words((noun,), (), (noun, rng.choice(lexicon.words["brain_other_adjective"])))


def _amount(rng: Random) -> str:
    """A volume that something is compared with."""
    number = rng.choice(("1", "2", "3", "3.5", "4", "5", "10", "20", "50", "100", "200", "three", "five", "ten"))
    unit = rng.choice(("ml", "ml", "cm3", "cc", "cubic centimetres", "millilitres", "mm3", "cm^3"))
    return f"{number}{'00' if unit == 'mm3' and number.isdigit() else ''} {unit}"


def pseudo_latin(rng: Random) -> str:
    """A word that sounds like anatomy and is none."""
    syllables = "".join(rng.choice(_STARTS) + rng.choice(_VOWELS) for _ in range(rng.randint(1, 3)))
    return syllables + rng.choice("lmnrtv") + rng.choice(_ENDINGS)


def nonsense(rng: Random) -> str:
    """A random word or number."""
    if rng.random() < 0.15:
        return str(rng.randrange(10_000))
    return "".join(rng.choice(_LETTERS) for _ in range(rng.randint(2, 9)))


def _structure(lexicon: Lexicon, rng: Random) -> str:
    base = rng.choice(_NAMED)
    side = rng.choice(("left ", "right ", "", "")) if base in BILATERAL_NAMES else ""
    return side + rng.choice((*lexicon.names[base].nouns, *lexicon.names[base].plurals))


def _plurals(lexicon: Lexicon, base: str) -> tuple[str, ...]:
    return lexicon.names[base].plurals or lexicon.names[base].nouns
