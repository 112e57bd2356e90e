"""Draw which lesions are meant, and what they are called: by place, contact, size, signal, rank and fate."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from vp_engine.agent.language.choosing import COUNTABLE, PATHOLOGY
from vp_engine.agent.language.lengths import length_slots, some_length
from vp_engine.agent.language.lexicon import Lexicon
from vp_engine.agent.language.meaning import Region, Target
from vp_engine.agent.language.naming import Naming
from vp_engine.agent.language.regions import ANATOMY, AROUND, some_piece, spoken
from vp_engine.agent.language.sentences import Slotted
from vp_engine.environment.vocabulary import LOBES, ZONES

SEEN_ON: tuple[str, ...] = ("T1w", "T2w", "FLAIR", "PDw")
RANKS: tuple[str, ...] = ("largest", "smallest", "brightest", "darkest")
"""What singles out one piece of all."""
_RANK_WEIGHTS = (45, 25, 17, 13)
_SEEN_WEIGHTS = (40, 15, 40, 5)
_BY = ("place", "size", "contact", "signal")
_BY_WEIGHTS = (44, 24, 16, 16)
# "lesions in the left hemisphere" are those nearer to it, whatever their lobe
_PLACES = (*LOBES, *LOBES, *ZONES, "periventricular", "juxtacortical", "infratentorial")
_SIDES = ("left_", "right_", "")
_NOT_COUNTED = ("leukoaraiosis",)


@dataclass(frozen=True, slots=True)
class Lesions:
    """Lesions that a prompt is about.

    Attributes
    ----------
    target : str or Region
        Their mask.
    one : str
        What one of them is called, without article: "left frontal lesion larger than 5 mm".
    many : str
        All of them; empty where there can be only one.
    adjective : str
        What stands before a measure: "left frontal lesion".
    suffix : str
        What then follows the measure: " larger than 5 mm".
    """

    target: Target
    one: str
    many: str
    adjective: str
    suffix: str

    def naming(self, rng: Random) -> Naming:
        """As other regions are named."""
        bare = self.many or self.one
        article = rng.choice(("the ", "the ", "", "all ")) if self.many else "the "
        return Naming(article + bare, bare, self.adjective, self.suffix, self.many)

    def slots(self, rng: Random) -> Slotted:
        """{X1} one and {Xp} all of them, {S} one with its article and {S_bare} without."""
        article = rng.choice(("the ", "the ", "the ", "this ", "his ", "her ", ""))
        return {
            "X1": self.one,
            "Xp": self.many,
            "S": ("the " if not self.many else article) + self.one,
            "S_bare": self.one,
        }


def kind_of_lesion(rng: Random) -> str:
    """A kind of lesion that there can be several of, the usual ones more often."""
    return rng.choices(("lesion", "white_matter_lesion", rng.choice(COUNTABLE)), (50, 32, 18))[0]


def all_lesions(base: str, lexicon: Lexicon, rng: Random) -> Lesions:
    """All lesions of a kind."""
    words = lexicon.names[base]
    nouns = [noun for noun in words.nouns if noun not in _NOT_COUNTED]
    plurals = [noun.removeprefix("all ") for noun in words.plurals]
    if not plurals:
        return Lesions(base, rng.choice(nouns), "", rng.choice(words.adjectives), "")
    at = rng.randrange(len(plurals))
    # mostly the same word in the singular and in the plural
    same = [noun for noun in nouns if plurals[at] == f"{noun}s"]
    return Lesions(base, rng.choice(same or nouns), plurals[at], rng.choice(words.adjectives), "")


def whole(lexicon: Lexicon, rng: Random) -> Lesions:
    """One pathology as a whole: the tumor, the edema, the lesion."""
    base = rng.choices(("lesion", "tumor", rng.choice(PATHOLOGY)), (30, 25, 45))[0]
    return all_lesions(base, lexicon, rng)


def selected(lexicon: Lexicon, rng: Random, *, fate: str = "", rank: bool | None = None) -> Lesions:
    """Some lesions of a kind, or one of them.

    Parameters
    ----------
    lexicon : Lexicon
        Words of one split.
    rng : Random
        Source of the draw.
    fate : str
        What became of them between two sessions; empty for what is seen in one.
    rank : bool, optional
        Whether one is singled out; drawn when None.
    """
    meant = all_lesions(kind_of_lesion(rng), lexicon, rng)
    ranked = rng.random() < 0.3 if rank is None else rank
    if fate:
        meant = _fated(meant, fate, lexicon, rng)
        ways = [] if rng.random() < 0.8 else [rng.choice(("place", "size"))]
    elif ranked:
        ways = [] if rng.random() < 0.7 else [rng.choice(("place", "place", "contact"))]
    else:
        number = rng.choices((1, 2, 3), (76, 21, 3))[0]
        ways = sorted({rng.choices(_BY, _BY_WEIGHTS)[0] for _ in range(number)}, key=_INNERMOST.index)
    for way in ways:
        meant = {"place": _placed, "size": _sized, "contact": _touching, "signal": _seen}[way](meant, lexicon, rng)
    return _ranked(meant, rng.choices(RANKS, _RANK_WEIGHTS)[0], lexicon, rng) if ranked else meant


_INNERMOST = ("signal", "place", "contact", "size")
"""Order in which selections are made of each other, whatever their order in the sentence."""


def _with(meant: Lesions, target: Target, *, before: str = "", after: str = "") -> Lesions:
    """The same lesions with more words before or behind them."""
    prefix = f"{before} " if before else ""
    return Lesions(
        target,
        prefix + meant.one + after,
        meant.many and prefix + meant.many + after,
        prefix + meant.adjective,
        meant.suffix + after,
    )


def _placed(meant: Lesions, lexicon: Lexicon, rng: Random) -> Lesions:
    place = rng.choice(_PLACES)
    if place in ZONES:
        target = Region("located", (meant.target,), place)
        if rng.random() < 0.5:
            return _with(meant, target, before=lexicon.phrase(f"adj_{place}", rng))
        return _with(meant, target, after=lexicon.phrase(f"in_{place}", rng))
    side = rng.choice(_SIDES)
    target = Region("located", (meant.target,), side + place)
    adjective = lexicon.phrase(f"adj_{place}", rng)
    draw = rng.random()
    said = side.replace("_", " ")
    if draw < 0.4:
        return _with(meant, target, before=said + adjective)
    if side and draw < 0.5:
        return _with(meant, target, before=adjective, after=f" on the {said.strip()}")
    slots: Slotted = {"side": said, "lobe": lexicon.phrase(f"lobe_{place}", rng), "lobe_adj": adjective.split()[0]}
    rule = "in_lobe" if side or rng.random() < 0.6 else "in_lobes"
    return _with(meant, target, after=lexicon.phrase(rule, rng, slots))


def _sized(meant: Lesions, lexicon: Lexicon, rng: Random) -> Lesions:
    length = some_length(rng)
    after = lexicon.phrase("at_least", rng, length_slots(length, rng))
    return _with(meant, Region("at_least", (meant.target,), length), after=after)


def _touching(meant: Lesions, lexicon: Lexicon, rng: Random) -> Lesions:
    other = some_piece(rng, AROUND if rng.random() < 0.8 else ANATOMY)
    after = lexicon.phrase("touching", rng, {"Y": spoken(other, lexicon, rng).noun})
    return _with(meant, Region("touching", (meant.target, other.targets()[0])), after=after)


def _seen(meant: Lesions, lexicon: Lexicon, rng: Random) -> Lesions:
    if isinstance(meant.target, str) and meant.target in ("lesion", "white_matter_lesion") and rng.random() < 0.22:
        one, many = lexicon.phrase("black_hole", rng), lexicon.phrase("black_holes", rng)
        return Lesions(Region("with_signal", ("lesion",), "dark", "T1w"), one, many, one, "")
    signal = rng.choices(("bright", "dark", "similar"), (42, 42, 16))[0]
    contrast, on = _contrast(lexicon, rng)
    target = Region("with_signal", (meant.target,), signal, contrast)
    draw = rng.random()
    if on and draw < 0.25:
        named = on.split()[-1] if len(on.split()) == 2 else _contrast_word(contrast, lexicon, rng)
        return _with(meant, target, before=f"{named} {lexicon.phrase(f'pre_{signal}', rng)}")
    if draw < 0.65:
        return _with(meant, target, before=lexicon.phrase(f"pre_{signal}", rng), after=on)
    return _with(meant, target, after=lexicon.phrase(f"post_{signal}", rng) + on)


def _ranked(meant: Lesions, rank: str, lexicon: Lexicon, rng: Random) -> Lesions:
    on = ""
    if rank in ("largest", "smallest"):
        target = Region(rank, (meant.target,))
    else:
        contrast, on = _contrast(lexicon, rng)
        target = Region("with_signal", (meant.target,), rank, contrast)
    word = lexicon.phrase(f"{rank}_lesion", rng)
    named = _with(meant, target, before=word, after=on)
    one = f"{word} of the {meant.many}{on}" if meant.many and rng.random() < 0.1 else named.one
    return Lesions(target, one, "", named.adjective, named.suffix)


def _fated(meant: Lesions, fate: str, lexicon: Lexicon, rng: Random) -> Lesions:
    target = Region("changed", (meant.target,), fate)
    if rng.random() < 0.7:
        return _with(meant, target, before=lexicon.phrase(f"pre_{fate}", rng))
    return _with(meant, target, after=lexicon.phrase(f"post_{fate}", rng))


def some_contrast(rng: Random) -> str:
    """A contrast on which people look at the signal of lesions."""
    return rng.choices(SEEN_ON, _SEEN_WEIGHTS)[0]


def on_contrast(contrast: str, lexicon: Lexicon, rng: Random) -> str:
    """Words that say on which image a signal is looked at."""
    return lexicon.phrase("on_contrast", rng, {"c": _contrast_word(contrast, lexicon, rng)})


def _contrast(lexicon: Lexicon, rng: Random) -> tuple[str, str]:
    """A contrast and the words for it; mostly none."""
    if rng.random() < 0.4:
        return "", ""
    contrast = some_contrast(rng)
    return contrast, on_contrast(contrast, lexicon, rng)


def _contrast_word(contrast: str, lexicon: Lexicon, rng: Random) -> str:
    return str(rng.choice(lexicon.rules[contrast]).items[0])
