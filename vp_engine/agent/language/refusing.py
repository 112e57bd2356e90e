"""Draw a prompt that is to be refused, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from vp_engine.agent.language.lexicon import Lexicon
from vp_engine.agent.language.requests import MEASURES, PATHOLOGY
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
_COMPOSITES = tuple(name for name, s in STRUCTURES.items() if s.side == "none" and name != "csf")
_NAMED = tuple(name for name, s in STRUCTURES.items() if s.side in ("both", "none") and name != "intracranial_volume")
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
    template = rng.choice(lexicon.sentences[f"refuse_{reason}"])
    slots: dict[str, str | Callable[[], str]] = {
        name: partial(rng.choice, words) for name, words in lexicon.words.items()
    }
    slots |= {
        "structure": lambda: _structure(lexicon, rng),
        "unsided": lambda: rng.choice(lexicon.names[rng.choice(_COMPOSITES)].nouns),
        "lesion_like": lambda: rng.choice(_plurals(lexicon, rng.choice(PATHOLOGY))),
        "anymeasure": lambda: lexicon.phrase(rng.choice(("volume", "volume", *MEASURES)), rng),
        "pseudo": lambda: pseudo_latin(rng),
        "nonsense": lambda: nonsense(rng),
    }
    return reason, lexicon.fill(template, rng, slots)


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
