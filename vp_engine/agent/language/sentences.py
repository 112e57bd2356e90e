"""Sentences from templates: the slots that stand for structures, regions and measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from vp_engine.agent.language.grammar import Template
from vp_engine.agent.language.lexicon import Lexicon
from vp_engine.agent.language.naming import Naming, Piece, enumerated, name_structures

Slotted = dict[str, str | Callable[[], str]]


@dataclass(frozen=True, slots=True)
class Said:
    """What the slots of a sentence stand for.

    Attributes
    ----------
    pieces, other : sequence of Piece
        Structures of {S} and {S2}.
    region, other_region : Naming, optional
        What {S} and {S2} stand for when they are no plain structures.
    bases : sequence of str
        Bilateral structures of {B}.
    measures : sequence of str
        Of {M} and {MS}.
    base_measure : str
        Of {m}.
    extra : dict
        Further slots.
    """

    pieces: Sequence[Piece] = ()
    other: Sequence[Piece] = ()
    region: Naming | None = None
    other_region: Naming | None = None
    bases: Sequence[str] = ()
    measures: Sequence[str] = ()
    base_measure: str = "volume"
    extra: Slotted | None = None


def sentence(template: Template, lexicon: Lexicon, rng: Random, said: Said) -> str:
    """Draw a sentence from a template."""
    may_follow = "S_suffix" in template.slots()
    behind = said.region.suffix if said.region and "S_adj" in template.slots() and not may_follow else ""
    slots: Slotted = {
        "m": lambda: rng.choice((said.base_measure.replace("_", " "), lexicon.phrase(said.base_measure, rng))) + behind,
        "M": lambda: enumerated([lexicon.phrase(measure, rng) for measure in said.measures], lexicon, rng) + behind,
        "MS": lambda: _measure_phrase(lexicon, rng, said=said, slots=slots),
        "between_must": lambda: lexicon.phrase("between", rng) or " over time",
    }
    if said.region is not None:
        region = said.region
        slots |= _slots(region, may_follow=may_follow, mark="S") | {"Sp": region.plural}
    elif said.pieces:
        slots |= _slots(
            name_structures(said.pieces, lexicon, rng, may_follow=may_follow), may_follow=may_follow, mark="S"
        )
        slots["Sp"] = lambda: name_structures(said.pieces, lexicon, rng, may_follow=False, plural=True).bare
    if said.other_region is not None:
        slots |= _slots(said.other_region, may_follow=False, mark="S2")
    elif said.other:
        slots |= _slots(name_structures(said.other, lexicon, rng, may_follow=False), may_follow=False, mark="S2")
    if said.bases:
        slots |= _bilateral(said.bases, lexicon, rng)
    return lexicon.fill(template, rng, slots | (said.extra or {}))


def fitting(templates: Sequence[Template], region: Naming, mark: str = "S") -> list[Template]:
    """Templates that can hold what a region is called."""
    return [template for template in templates if _fits(template.slots(), region, mark)]


def _fits(slots: frozenset[str], region: Naming, mark: str) -> bool:
    # what follows a measure has its place behind the adjective's measure, wherever that is
    placed = not region.suffix or f"{mark}_suffix" in slots or (mark == "S" and {"m", "M"} & slots)
    if f"{mark}_adj" in slots and not (region.adjective and placed):
        return False
    return "Sp" not in slots or bool(region.plural)


def _slots(naming: Naming, *, may_follow: bool, mark: str) -> Slotted:
    return {
        mark: naming.noun,
        f"{mark}_bare": naming.bare,
        f"{mark}_adj": naming.adjective,
        f"{mark}_suffix": naming.suffix if may_follow else "",
    }


def _measure_phrase(lexicon: Lexicon, rng: Random, *, said: Said, slots: Slotted) -> str:
    templates = lexicon.rules["measure_np"]
    template = rng.choice(templates if said.region is None else fitting(templates, said.region))
    may_follow = "S_suffix" in template.slots()
    naming = said.region or name_structures(said.pieces, lexicon, rng, may_follow=may_follow)
    listed = enumerated([lexicon.phrase(measure, rng) for measure in said.measures], lexicon, rng)
    if said.region and said.region.suffix and "S_adj" in template.slots() and not may_follow:
        listed += said.region.suffix
    return lexicon.fill(template, rng, slots | {"M": listed} | _slots(naming, may_follow=may_follow, mark="S"))


def _bilateral(bases: Sequence[str], lexicon: Lexicon, rng: Random) -> dict[str, str | Callable[[], str]]:
    def words(*, plural: bool) -> str:
        named = [lexicon.names[base] for base in bases]
        chosen = [rng.choice(name.plurals if plural and name.plurals else name.nouns) for name in named]
        return enumerated(chosen, lexicon, rng)

    return {
        "B": lambda: words(plural=False),
        "Bp": lambda: words(plural=True),
        "B_the": lambda: rng.choice(("the ", "the ", "")) + words(plural=rng.random() < 0.25),
        "Bp_the": lambda: rng.choice(("the ", "the two ", "both ", "")) + words(plural=True),
        "B_adj": lambda: enumerated([rng.choice(lexicon.names[base].adjectives) for base in bases], lexicon, rng),
    }
