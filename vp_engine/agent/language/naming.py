"""How a list of structures is said: sides before or after it, singular or plural, noun or adjective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from vp_engine.agent.language.lexicon import Lexicon
from vp_engine.agent.language.meaning import structure_of
from vp_engine.anatomy import BILATERAL_NAMES

_JOINT_SHARE = 0.7
_HEAD_SHARE = 0.05
_COMMAS = (", ", ", ", ", ", ", ", " and ", ",", "; ", "/", " ", " & ", " + ")

Side = Literal["union", "left", "right", "both"]
SIDED: tuple[str, ...] = (*BILATERAL_NAMES, "hemisphere")
"""Base names that take a side word."""
_HEADED = frozenset(BILATERAL_NAMES) - {
    "cerebral_white_matter",
    "cerebellum_white_matter",
    "cerebral_cortex",
    "cerebellum_cortex",
    "ventral_dc",
} | {
    "brainstem",
    "cerebellum",
    "ventricles",
    "basal_ganglia",
    "deep_gray_matter",
    "third_ventricle",
    "fourth_ventricle",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """Base names that share one side word."""

    side: Side
    bases: tuple[str, ...]

    def targets(self) -> tuple[str, ...]:
        """Canonical names, structure by structure, left before right."""
        names: list[str] = []
        for base in self.bases:
            if base not in SIDED or self.side == "union":
                names.append(base)
            else:
                sides = ("left", "right") if self.side == "both" else (self.side,)
                names += [structure_of(base, side) for side in sides]
        return tuple(names)


@dataclass(frozen=True, slots=True)
class Naming:
    """One way of saying a list of structures, kept for a whole sentence.

    Attributes
    ----------
    noun : str
        With articles and sides: "the left hippocampus and the amygdala".
    bare : str
        Without articles.
    adjective : str
        Before a measure: "left hippocampal and amygdalar".
    suffix : str
        Phrase that follows the measure when it is not in `adjective`.
    plural : str
        Without article, where it can be counted; empty where it cannot.
    """

    noun: str
    bare: str
    adjective: str
    suffix: str
    plural: str = ""


def targets_of(pieces: Sequence[Piece]) -> tuple[str, ...]:
    """Canonical names of all pieces in order, each once."""
    return tuple(dict.fromkeys(name for piece in pieces for name in piece.targets()))


def name_structures(
    pieces: Sequence[Piece], lexicon: Lexicon, rng: Random, *, may_follow: bool, plural: bool | None = None
) -> Naming:
    """Draw words for a list of structures.

    Parameters
    ----------
    pieces : sequence of Piece
        What is to be named.
    lexicon : Lexicon
        Words of one split.
    rng : Random
        Source of the draw.
    may_follow : bool
        Whether the sentence has a place for a side phrase after an adjective.
    plural : bool, optional
        Force plural or singular nouns; drawn when None.
    """
    nouns, bares, adjectives = [], [], []
    suffix = ""
    for piece in pieces:
        prefix, after = _side_words(piece, lexicon, rng, alone=len(pieces) == 1)
        many = plural if plural is not None else _is_plural(piece, prefix, rng)
        each = prefix and len(piece.bases) > 1 and piece.side in ("left", "right") and rng.random() < 0.25
        joint = _joint_words(piece, lexicon, rng)
        heads = (*piece.bases[:1], *piece.bases[len(piece.bases) - len(joint[2]) :]) if joint else piece.bases
        words = [_noun(base, lexicon, rng, plural=many) for base in (joint[2] if joint else piece.bases)]
        words = [joint[0], *words] if joint else words
        article = rng.random() < 0.55
        determiner = lexicon.phrase("determiner", rng)
        listed = [
            _with_prefix(prefix if index == 0 or each else "", word, base, determiner if article and index == 0 else "")
            for index, (word, base) in enumerate(zip(words, heads, strict=True))
        ]
        bare = [
            _with_prefix(prefix if index == 0 or each else "", word, base, "")
            for index, (word, base) in enumerate(zip(words, heads, strict=True))
        ]
        shown = enumerated(listed, lexicon, rng) + after
        nouns.append(shown)
        bares.append(enumerated(bare, lexicon, rng) + after)
        spoken = [rng.choice(lexicon.names[base].adjectives) for base in (joint[2] if joint else piece.bases)]
        spoken = [joint[1], *spoken] if joint else spoken
        if after and (not may_follow or len(pieces) > 1):
            prefix = _prefix(piece.side, lexicon, rng)
            after = ""
        if prefix in ("both ", "the two "):
            # "both hippocampal volumes" would be two numbers, "both hippocampi" are one structure
            prefix = ""
        sided = any(base in SIDED for base in piece.bases)
        adjectives.append((prefix if sided or piece.side == "union" else "") + enumerated(spoken, lexicon, rng))
        suffix += after if sided or piece.side == "union" else ""
    return Naming(
        noun=enumerated(nouns, lexicon, rng),
        bare=enumerated(bares, lexicon, rng),
        adjective=enumerated(adjectives, lexicon, rng),
        suffix=suffix,
    )


def _joint_words(piece: Piece, lexicon: Lexicon, rng: Random) -> tuple[str, str, tuple[str, ...]] | None:
    """Noun and adjective for the first structures together, and the structures that are left."""
    for number in (3, 2):
        words = lexicon.joint.get(piece.bases[:number]) if len(piece.bases) >= number else None
        if words and rng.random() < _JOINT_SHARE:
            return rng.choice(words.nouns), rng.choice(words.adjectives), piece.bases[number:]
    return None


def _prefix(side: Side, lexicon: Lexicon, rng: Random) -> str:
    if side in ("left", "right"):
        return lexicon.phrase("side_prefix", rng, {"side": side, "l": side[0]})
    return lexicon.phrase("both_prefix" if side == "both" else "union_prefix", rng)


def _side_words(piece: Piece, lexicon: Lexicon, rng: Random, *, alone: bool) -> tuple[str, str]:
    if not any(base in SIDED for base in piece.bases):
        return "", ""
    if piece.side == "union" and (len(piece.bases) > 1 or not alone):
        return "", ""
    may_follow = alone or (len(piece.bases) == 1 and piece.side in ("left", "right"))
    follows = may_follow and rng.random() < (0.25 if piece.side == "union" else 0.45)
    if not follows:
        return _prefix(piece.side, lexicon, rng), ""
    if piece.side in ("left", "right"):
        return "", lexicon.phrase("side_suffix", rng, {"side": piece.side, "l": piece.side[0]})
    if piece.side == "both":
        return rng.choice(("", "", "", "both ", "the two ")), lexicon.phrase("both_suffix", rng)
    return "", lexicon.phrase("union_suffix", rng)


def _is_plural(piece: Piece, prefix: str, rng: Random) -> bool:
    if prefix.startswith(("each", "every")) or piece.side in ("left", "right"):
        return False
    if prefix in ("both ", "the two ", "bilateral "):
        return True
    return rng.random() < 0.5


def _noun(base: str, lexicon: Lexicon, rng: Random, *, plural: bool) -> str:
    words = lexicon.names[base]
    if lexicon.heads and rng.random() < _HEAD_SHARE and base in _HEADED:
        # "hippocampal region": any structure can be named so
        head = rng.choice(lexicon.heads)
        return f"{rng.choice(words.adjectives)} {head}{'s' if plural else ''}"
    return rng.choice(words.plurals if plural and words.plurals else words.nouns)


def _with_prefix(prefix: str, word: str, base: str, determiner: str) -> str:
    prefix = prefix if base in SIDED else ""
    determined = prefix.startswith(("each", "every", "both", "the "))
    return ("" if determined else determiner) + prefix + word


def enumerated(words: Sequence[str], lexicon: Lexicon, rng: Random) -> str:
    """Words one after the other, as people write lists."""
    if len(words) == 1:
        return words[0]
    if len(words) == 2:
        return words[0] + lexicon.phrase("and", rng) + words[1]
    comma = rng.choice(_COMMAS)
    return comma.join(words[:-1]) + rng.choice((" and ", ", and ", comma, lexicon.phrase("and", rng))) + words[-1]
