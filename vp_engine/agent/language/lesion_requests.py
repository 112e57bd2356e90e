"""Draw what is asked of lesions: row by row, selected, described in words, and followed between sessions."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from vp_engine.agent.language.lesions import (
    Lesions,
    all_lesions,
    kind_of_lesion,
    on_contrast,
    selected,
    some_contrast,
    whole,
)
from vp_engine.agent.language.lexicon import Lexicon
from vp_engine.agent.language.meaning import Clause, Described, Each, Followed, Measure, Presence, Region, Target
from vp_engine.agent.language.naming import Naming, enumerated
from vp_engine.agent.language.region_requests import measure_region, show_region
from vp_engine.agent.language.regions import AROUND, some_piece, spoken
from vp_engine.agent.language.requests import SHORT, Drawn
from vp_engine.agent.language.sentences import Said, Slotted, sentence
from vp_engine.environment.vocabulary import ASPECTS, FATES, LOBES, ZONES

LISTED = (("volume", "max_diameter"), ("place",))
"""Measures and aspects of a lesion in a list that says nothing of them."""
DESCRIBED = ("volume", "max_diameter")
"""Measures that go with the description of a lesion in words."""
DIAMETERS = ("max_diameter", "perpendicular_diameter")
"""What RECIST measures of a lesion."""

_MEASURES = ("volume", "max_diameter", "perpendicular_diameter", "relative_intensity", "mean_intensity",
             "surface_area", "sphericity", "centroid", "median_intensity")  # fmt: skip
_MEASURE_WEIGHTS = (34, 16, 10, 9, 9, 7, 7, 6, 2)
_ASPECTS = ("place", "side", "signal", "pattern", "enhancement", "mass_effect")
_ASPECT_WEIGHTS = (48, 20, 14, 7, 6, 5)
_ASKED_WEIGHTS = {
    "side": 22,
    "place": 26,
    "number": 8,
    "signal": 13,
    "pattern": 10,
    "mass_effect": 12,
    "enhancement": 9,
}
_RANKED = ("volume", "volume", "max_diameter", "max_diameter", "perpendicular_diameter", "relative_intensity",
           "mean_intensity", "surface_area")  # fmt: skip
_COUNTED = ("count", "count", "count", "volume", "volume", "max_diameter", "relative_intensity", "mean_intensity")


def draw_each(lexicon: Lexicon, rng: Random) -> Drawn:
    """Rows for every lesion, or for every one of some."""
    draw = rng.random()
    if draw < 0.4:
        return _simple_each(lexicon, rng)
    return (_each_with_distance if draw < 0.48 else _each_measured)(lexicon, rng)


def _simple_each(lexicon: Lexicon, rng: Random) -> Drawn:
    """One thing of every lesion, or what lists of lesions usually have."""
    meant = _lesions(lexicon, rng)
    target = meant.target
    of_each = {
        "each_list": (Each(target, *LISTED), 11),
        "each_size_place": (Each(target, ("volume",), ("place",)), 6),
        "each_show": (Each(target, save=True), 12),
        "each_place": (Each(target, aspects=("place",)), 10),
        "each_side": (Each(target, aspects=("side",)), 4),
        "each_volume": (Each(target, ("volume",)), 6),
        "each_signal": (Each(target, aspects=("signal",)), 2),
    }
    name = rng.choices(tuple(of_each), [weight for _, weight in of_each.values()])[0]
    return of_each[name][0], _filled(name, meant, lexicon, rng)


def _each_with_distance(lexicon: Lexicon, rng: Random) -> Drawn:
    meant, other = _lesions(lexicon, rng), some_piece(rng, AROUND)
    measure = rng.choice(("volume", "volume", "max_diameter"))
    slots: Slotted = {"Y": spoken(other, lexicon, rng).noun, "M": lambda: lexicon.phrase(measure, rng)}
    more = rng.random() < 0.25
    measures = (measure, "distance") if more else ("distance",)
    text = _filled("each_with_distance" if more else "each_distance", meant, lexicon, rng, slots)
    return Each(meant.target, measures, other=other.targets()[0]), text


def _each_measured(lexicon: Lexicon, rng: Random) -> Drawn:
    meant = _lesions(lexicon, rng)
    measures, aspects = _some_of_each(rng)
    if aspects and rng.random() < 0.12:
        aspects = tuple(dict.fromkeys((*aspects, *rng.choices(_ASPECTS, _ASPECT_WEIGHTS))))
    together = measures[-2:] == DIAMETERS
    said = [lexicon.phrase(name, rng) for name in (measures[:-2] if together else measures)]
    if together:
        said.append(lexicon.phrase("diameters", rng))
    listed: Slotted = {"M": enumerated([*said, *(lexicon.phrase(name, rng) for name in aspects)], lexicon, rng)}
    name = "each_measure_all" if aspects and rng.random() < 0.25 else "each_measure"
    return Each(meant.target, measures, aspects), _filled(name, meant, lexicon, rng, listed)


def _lesions(lexicon: Lexicon, rng: Random) -> Lesions:
    """All lesions of a kind, sometimes some of them only."""
    while True:
        meant = (
            selected(lexicon, rng, rank=False) if rng.random() < 0.2 else all_lesions(kind_of_lesion(rng), lexicon, rng)
        )
        if meant.many:
            return meant


def _some_of_each(rng: Random) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Measures and aspects of each lesion, measures first."""
    draw = rng.random()
    if draw < 0.08:
        return DIAMETERS, ()
    if draw < 0.16:
        return ("volume", *DIAMETERS), tuple(rng.choices(_ASPECTS[:2], _ASPECT_WEIGHTS[:2], k=rng.choice((0, 1))))
    number = rng.choices((1, 2, 3, 4), (40, 36, 18, 6))[0]
    measures = tuple(dict.fromkeys(rng.choices(_MEASURES, _MEASURE_WEIGHTS, k=number)))
    if draw < 0.5:
        return measures, ()
    if draw < 0.92:
        return measures[:2], tuple(rng.choices(_ASPECTS[:4], _ASPECT_WEIGHTS[:4]))
    return measures[:1], tuple(dict.fromkeys(rng.choices(_ASPECTS[:4], _ASPECT_WEIGHTS[:4], k=2)))


def draw_selected(lexicon: Lexicon, rng: Random) -> Drawn:
    """Numbers of some lesions, or of one that is singled out."""
    meant = selected(lexicon, rng)
    measures: tuple[str, ...] = (rng.choice(_COUNTED if meant.many else _RANKED),)
    if measures == ("volume",) and meant.many and rng.random() < 0.2:
        measures = ("count", "volume")
    naming = meant.naming(rng)
    if rng.random() < 0.35:
        said = Said(region=naming, measures=measures)
        return Measure((meant.target,), measures), sentence(rng.choice(SHORT), lexicon, rng, said)
    return measure_region((meant.target,), naming, measures, lexicon, rng)


def draw_places(lexicon: Lexicon, rng: Random) -> Drawn:
    """One number of the lesions of several places, or of every lobe."""
    plain = all_lesions(kind_of_lesion(rng), lexicon, rng)
    while not plain.many:
        plain = all_lesions(kind_of_lesion(rng), lexicon, rng)
    measure = rng.choice(("count", "count", "volume", "volume", "max_diameter"))
    places: tuple[str, ...] = LOBES
    name = "each_lobe"
    slots: Slotted = {"l1": plain.one, "ln": plain.many, "M": lambda: lexicon.phrase(measure, rng)}
    if rng.random() > 0.3:
        places = tuple(rng.sample((*ZONES, *ZONES[:2], *LOBES), rng.choice((2, 2, 3, 3, 4))))
        places = tuple(dict.fromkeys(places))
        name = "count_places" if measure == "count" and rng.random() < 0.6 else "several_places"
        slots = {**slots, "PLACES": enumerated([lexicon.phrase(f"adj_{one}", rng) for one in places], lexicon, rng)}
    targets = tuple(Region("located", (plain.target,), place) for place in places)
    return Measure(targets, (measure,)), _filled(name, plain, lexicon, rng, slots)


def draw_any_selected(lexicon: Lexicon, rng: Random) -> Drawn:
    """Whether there are lesions of some kind."""
    meant = selected(lexicon, rng, rank=False)
    while not meant.many or "with_signal" in _ops_of(meant.target):
        meant = selected(lexicon, rng, rank=False)
    name = rng.choices(("presence", "presence_count", "presence_volume"), (60, 28, 12))[0]
    measures = {"presence_count": ("count",), "presence_volume": ("volume",)}.get(name, ())
    return Presence(meant.target, _base_of(meant.target), measures), _filled(name, meant, lexicon, rng)


def _ops_of(target: Target) -> set[str]:
    return set() if isinstance(target, str) else {target.op}.union(*map(_ops_of, target.operands))


def draw_selected_show(lexicon: Lexicon, rng: Random) -> Drawn:
    """The mask of some lesions, with or without numbers."""
    meant = selected(lexicon, rng)
    measures = (rng.choice(("count", "volume") if meant.many else ("volume", "max_diameter")),)
    return show_region((meant.target,), meant.naming(rng), measures if rng.random() < 0.2 else (), lexicon, rng)


def draw_diameters(lexicon: Lexicon, rng: Random) -> Drawn:
    """The longest diameter and the one perpendicular to it, as RECIST has them; or the latter alone."""
    meant = selected(lexicon, rng, rank=True) if rng.random() < 0.45 else whole(lexicon, rng)
    if rng.random() < 0.3:
        naming = Naming(f"the {meant.one}", meant.one, meant.adjective, meant.suffix)
        return measure_region((meant.target,), naming, ("perpendicular_diameter",), lexicon, rng)
    return Measure((meant.target,), DIAMETERS), _filled("diameters_of", meant, lexicon, rng)


def draw_relative(lexicon: Lexicon, rng: Random) -> Drawn:
    """How bright lesions are against white matter, as a number."""
    meant = selected(lexicon, rng) if rng.random() < 0.3 else whole(lexicon, rng)
    naming = meant.naming(rng)
    slots: Slotted = {"S": naming.noun, "S_bare": naming.bare}
    return Measure((meant.target,), ("relative_intensity",)), _filled("relative", meant, lexicon, rng, slots)


def draw_described(lexicon: Lexicon, rng: Random) -> Drawn:
    """One lesion in words: where it is, how it looks, what it does to its surroundings."""
    meant = selected(lexicon, rng, rank=True) if rng.random() < 0.3 else whole(lexicon, rng)
    draw = rng.random()
    if draw < 0.18:
        described = Described(meant.target, tuple(ASPECTS), DESCRIBED)
        return described, _filled("describe_all", meant, lexicon, rng)
    if draw < 0.31:
        aspects = tuple(dict.fromkeys(rng.choices(_ASPECTS, _ASPECT_WEIGHTS, k=rng.choice((2, 2, 3)))))
        measures = tuple(dict.fromkeys(rng.choices(_MEASURES[:2], k=rng.choice((0, 1, 1)))))
        listed: Slotted = {"M": enumerated([lexicon.phrase(one, rng) for one in (*measures, *aspects)], lexicon, rng)}
        text = _filled("describe_some_aspects", meant, lexicon, rng, listed)
        return Described(meant.target, aspects, measures), text
    if draw < 0.37:
        aspect = rng.choice(("mass_effect", "mass_effect", "enhancement", "number"))
        return Described("lesion", (aspect,)), _filled(f"any_{aspect}", meant, lexicon, rng)
    aspect = rng.choices(tuple(_ASKED_WEIGHTS), tuple(_ASKED_WEIGHTS.values()))[0]
    while aspect == "number" and not meant.many:
        meant = all_lesions(kind_of_lesion(rng), lexicon, rng)
    text = _filled(f"describe_{aspect}", meant, lexicon, rng)
    contrast = some_contrast(rng) if aspect == "signal" and rng.random() < 0.6 else ""
    if contrast:
        text += on_contrast(contrast, lexicon, rng)
    return Described(meant.target, (aspect,), contrast=contrast), text


def draw_changed(lexicon: Lexicon, rng: Random) -> Drawn:
    """Lesions by what became of them between two sessions."""
    fate = rng.choices(FATES, (46, 14, 18, 11, 11))[0]
    meant = selected(lexicon, rng, fate=fate, rank=False)
    plain = all_lesions(_base_of(meant.target), lexicon, rng)
    slots: Slotted = {
        "ln": plain.many or plain.one,
        "did": lambda: lexicon.phrase(f"did_{fate}", rng),
        "B4": lambda: lexicon.phrase("between", rng) if rng.random() < 0.6 else "",
    }
    kind = rng.choices(tuple(_CHANGED), tuple(_CHANGED.values()))[0]
    target: Target = meant.target
    clause: Clause
    match kind:
        case "changed_each":
            clause = Each(target, *LISTED)
        case "changed_count":
            clause = Measure((target,), ("count",))
        case "changed_volume":
            clause = Measure((target,), ("volume",))
        case "changed_both":
            clause = Measure((target,), ("count", "volume"))
        case "changed_show":
            clause = Measure((target,), (), save=True)
        case _:
            clause = Presence(target, _base_of(target))
    # "which lesions grew" names no place and no size
    by_verb = isinstance(target, Region) and target.op == "changed"
    return clause, _filled(kind, meant, lexicon, rng, slots, without="" if by_verb else "did")


_CHANGED = {
    "changed_each": 20,
    "changed_count": 36,
    "changed_volume": 12,
    "changed_both": 10,
    "changed_show": 12,
    "changed_any": 10,
}


def _base_of(target: Target) -> str:
    return target if isinstance(target, str) else _base_of(target.operands[0])


def draw_followed(lexicon: Lexicon, rng: Random) -> Drawn:
    """Every lesion followed from the first to the last session."""
    meant = all_lesions(kind_of_lesion(rng), lexicon, rng)
    slots: Slotted = {"B4": lambda: lexicon.phrase("between", rng) if rng.random() < 0.7 else ""}
    return Followed(str(meant.target)), _filled("follow", meant, lexicon, rng, slots)


def _filled(
    name: str, meant: Lesions, lexicon: Lexicon, rng: Random, slots: Slotted | None = None, *, without: str = ""
) -> str:
    """A sentence about lesions; a template that needs a plural or the slot `without` is passed over."""
    extra: Slotted = {**meant.slots(rng), **(slots or {})}
    barred = {without} if meant.many else {without, "Xp"}
    choices = [one for one in lexicon.sentences[name] if not barred & one.slots()]
    return sentence(rng.choice(choices), lexicon, rng, Said(extra=extra))


LESION_DRAWS: dict[Callable[[Lexicon, Random], Drawn], int] = {
    draw_each: 21,
    draw_selected: 32,
    draw_selected_show: 7,
    draw_places: 7,
    draw_any_selected: 6,
    draw_diameters: 6,
    draw_relative: 5,
    draw_described: 22,
    draw_changed: 15,
    draw_followed: 6,
}
"""How often each kind of request about lesions is drawn."""
