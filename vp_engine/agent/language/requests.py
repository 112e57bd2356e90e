"""Draw a clause: what is asked for, and a sentence that asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from vp_engine.agent.language.grammar import Template, parse_template
from vp_engine.agent.language.lexicon import Lexicon
from vp_engine.agent.language.meaning import (
    Asymmetry,
    Change,
    Clause,
    Distance,
    Everything,
    Measure,
    Question,
    Ratio,
    structure_of,
)
from vp_engine.agent.language.naming import SIDED, Naming, Piece, Side, enumerated, name_structures, targets_of
from vp_engine.anatomy import BILATERAL_NAMES, STRUCTURES

MEASURES: tuple[str, ...] = (
    "volume",
    "surface_area",
    "mean_intensity",
    "median_intensity",
    "std_intensity",
    "max_diameter",
    "centroid",
    "sphericity",
    "mean_thickness",
    "count",
    "centroid_x",
    "centroid_y",
    "centroid_z",
)
_MEASURE_WEIGHTS = (40, 12, 10, 5, 5, 6, 5, 4, 6, 4, 1, 1, 1)
CHANGING: tuple[str, ...] = ("volume", "surface_area", "mean_thickness", "mean_intensity", "max_diameter", "count")
_CHANGING_WEIGHTS = (75, 7, 7, 5, 3, 3)
_COMPARED = (
    "volume",
    "surface_area",
    "mean_thickness",
    "mean_intensity",
    "median_intensity",
    "max_diameter",
    "sphericity",
)
UNITS = {"volume": "unit", "surface_area": "unit_area", "max_diameter": "unit_length", "mean_thickness": "unit_length"}

PATHOLOGY: tuple[str, ...] = tuple(name for name, s in STRUCTURES.items() if s.kind == "pathology")
COUNTABLE: tuple[str, ...] = ("lesion", "white_matter_lesion", "tumor", "stroke_lesion", "hemorrhage")
_UNSIDED = tuple(name for name, s in STRUCTURES.items() if s.side == "none")
_DENOMINATORS = ("intracranial_volume", "brain", "cerebrum", "gray_matter", "white_matter", "cerebellum", "ventricles")
_SIDES: tuple[Side, ...] = ("union", "left", "right", "both")
_ORDERS: tuple[tuple[Side, Side], ...] = (("left", "right"), ("right", "left"))
_SIDE_WEIGHTS = (42, 13, 13, 32)

Drawn = tuple[Clause, str]
_BARE = parse_template("{MS}")
_SHORT = tuple(map(parse_template, ("{MS}", "{MS}", "{do} {MS}", "what {is} {MS}", "{do} {MS}")))
_SHORT_SHOW = parse_template("{draw} {S}")


def draw_measure(lexicon: Lexicon, rng: Random) -> Drawn:
    """Numbers of some structures."""
    if rng.random() < 0.015:
        template = rng.choice(lexicon.sentences["ask_icv"])
        text = _sentence(template, lexicon, rng, _Said(pieces=[Piece("union", ("icv",))]))
        return Measure(("intracranial_volume",), ("volume",)), text
    measures = _measures(rng)
    pieces = _pieces(lexicon, rng)
    single = measures[0] if len(measures) == 1 else ""
    if single == "count" or (single == "volume" and rng.random() < 0.06):
        pieces = [Piece("union", (rng.choice(COUNTABLE if rng.random() < 0.8 else PATHOLOGY),))]
    choices = lexicon.sentences["measure"]
    if f"ask_{single}" in lexicon.sentences and lexicon.sentences[f"ask_{single}"] and rng.random() < 0.4:
        choices = lexicon.sentences[f"ask_{single}"]
    if single == "volume" and pieces[0].bases[0] in PATHOLOGY and len(pieces) == 1 and rng.random() < 0.5:
        choices = lexicon.sentences["ask_load"]
    template = rng.choice(choices)
    text = _sentence(template, lexicon, rng, _Said(pieces=pieces, measures=measures))
    if single in UNITS and rng.random() < 0.12:
        text += lexicon.phrase(UNITS[single], rng)
    return Measure(targets_of(pieces), measures), text


def draw_list(lexicon: Lexicon, rng: Random) -> tuple[list[Clause], str]:
    """Several measures, each of structures of its own, in one enumeration."""
    clauses: list[Clause] = []
    phrases: list[str] = []
    for _ in range(rng.choice((2, 2, 3))):
        measures = (rng.choices(MEASURES, _MEASURE_WEIGHTS)[0],)
        pieces = _pieces(lexicon, rng)[:1]
        clauses.append(Measure(targets_of(pieces), measures))
        phrases.append(_sentence(_BARE, lexicon, rng, _Said(pieces=pieces, measures=measures)))
    text = enumerated(phrases, lexicon, rng)
    return clauses, (f"{lexicon.phrase('do', rng)} {text}" if rng.random() < 0.6 else text)


def draw_short(lexicon: Lexicon, rng: Random) -> Drawn:
    """One measure or the mask of structures in the fewest words."""
    pieces = _pieces(lexicon, rng)[:1]
    if rng.random() < 0.2:
        text = _sentence(_SHORT_SHOW, lexicon, rng, _Said(pieces=pieces))
        return Measure(targets_of(pieces), (), save=True), text
    measures = (rng.choices(MEASURES, _MEASURE_WEIGHTS)[0],)
    text = _sentence(rng.choice(_SHORT), lexicon, rng, _Said(pieces=pieces, measures=measures))
    return Measure(targets_of(pieces), measures), text


def draw_unmeasurable(lexicon: Lexicon, rng: Random, measure: str) -> str:
    """A request for a measure that is none of the vocabulary, in the words of those that are."""
    rules = {**lexicon.rules, "volume": (Template((measure,)),)}
    said = _Said(pieces=_pieces(lexicon, rng), measures=("volume",))
    return _sentence(rng.choice(lexicon.sentences["measure"]), replace(lexicon, rules=rules), rng, said)


def draw_show(lexicon: Lexicon, rng: Random) -> Drawn:
    """Masks of some structures, with or without numbers."""
    pieces = _pieces(lexicon, rng)
    if rng.random() < 0.75:
        template = rng.choice(lexicon.sentences["show"])
        return Measure(targets_of(pieces), (), save=True), _sentence(template, lexicon, rng, _Said(pieces=pieces))
    measures = _measures(rng)
    template = rng.choice(lexicon.sentences["show_and_measure"])
    if not {"M", "MS"} & template.slots():
        measures = ("volume",)
    text = _sentence(template, lexicon, rng, _Said(pieces=pieces, measures=measures))
    return Measure(targets_of(pieces), measures, save=True), text


def draw_asymmetry(lexicon: Lexicon, rng: Random) -> Drawn:
    """Asymmetry of a bilateral structure, sometimes of several."""
    bases = _bases(rng, SIDED, most=3)
    measure = "volume"
    if rng.random() < 0.2:
        measure = rng.choice(("volume", "surface_area", "mean_thickness", "mean_intensity", "max_diameter"))
        template = rng.choice(lexicon.sentences["asymmetry_of"])
    else:
        template = rng.choice(lexicon.sentences["asymmetry"])
    return Asymmetry(bases, measure), _sentence(template, lexicon, rng, _Said(bases=bases, base_measure=measure))


def draw_ratio(lexicon: Lexicon, rng: Random) -> Drawn:
    """Volume of structures over the volume of another."""
    draw = rng.random()
    if draw < 0.12:
        base = rng.choice(SIDED)
        first, second = rng.choice(_ORDERS)
        pieces, other = [Piece(first, (base,))], [Piece(second, (base,))]
        template = rng.choice(lexicon.sentences["ratio"])
        text = _sentence(template, lexicon, rng, _Said(pieces=pieces, other=other))
        return Ratio(targets_of(pieces), targets_of(other)[0]), text
    name = rng.choice(_DENOMINATORS) if rng.random() < 0.75 else rng.choice((*_UNSIDED, *BILATERAL_NAMES))
    implied = draw < 0.5 and bool(lexicon.sentences["ratio_icv"])
    pieces = _pieces(lexicon, rng)
    while ("intracranial_volume" if implied else name) in targets_of(pieces):
        pieces = _pieces(lexicon, rng)
    if implied:
        template = rng.choice(lexicon.sentences["ratio_icv"])
        return Ratio(targets_of(pieces), "intracranial_volume"), _sentence(template, lexicon, rng, _Said(pieces=pieces))
    other = [Piece("union", (name,))]
    template = rng.choice(lexicon.sentences["ratio"])
    return Ratio(targets_of(pieces), name), _sentence(template, lexicon, rng, _Said(pieces=pieces, other=other))


def draw_distance(lexicon: Lexicon, rng: Random) -> Drawn:
    """Distance between two structures."""
    sides = lexicon.sentences["distance_sides"]
    if sides and rng.random() < 0.2:
        base = rng.choice(SIDED)
        text = _sentence(rng.choice(sides), lexicon, rng, _Said(bases=(base,)))
        return Distance(structure_of(base, "left"), structure_of(base, "right")), text
    first, second = _two(rng)
    template = rng.choice(lexicon.sentences["distance"])
    text = _sentence(template, lexicon, rng, _Said(pieces=[first], other=[second]))
    if rng.random() < 0.1:
        text += lexicon.phrase("unit_length", rng)
    return Distance(first.targets()[0], second.targets()[0]), text


def draw_everything(lexicon: Lexicon, rng: Random) -> Drawn:
    """All parts."""
    draw = rng.random()
    if draw < 0.4:
        return Everything(()), _sentence(rng.choice(lexicon.sentences["all_show"]), lexicon, rng, _Said())
    if draw < 0.6 and lexicon.sentences["all_volume"]:
        return Everything(("volume",)), _sentence(rng.choice(lexicon.sentences["all_volume"]), lexicon, rng, _Said())
    measures = _measures(rng)
    return Everything(measures), _sentence(
        rng.choice(lexicon.sentences["all_measure"]), lexicon, rng, _Said(measures=measures)
    )


def draw_change(lexicon: Lexicon, rng: Random) -> Drawn:
    """Change of structures between sessions, absolute, in percent, per year."""
    op = rng.choices(("change", "percent_change", "annual_rate", "annual_percent_rate"), (40, 27, 25, 8))[0]
    worded = f"{op}_volume"
    pieces = _pieces(lexicon, rng)
    if lexicon.sentences.get(worded) and rng.random() < 0.35:
        return Change(op, targets_of(pieces)), _sentence(
            rng.choice(lexicon.sentences[worded]), lexicon, rng, _Said(pieces=pieces)
        )
    measure = rng.choices(CHANGING, _CHANGING_WEIGHTS)[0]
    template = rng.choice(lexicon.sentences[op])
    if "m" not in template.slots():
        measure = "volume"
    text = _sentence(template, lexicon, rng, _Said(pieces=pieces, base_measure=measure))
    return Change(op, targets_of(pieces), measure), text


def draw_question(lexicon: Lexicon, rng: Random) -> Drawn:
    """A question answered in a word after the agent has read a comparison."""
    kind = rng.choices(("side", "which", "grew", "shrank"), (35, 25, 20, 20))[0]
    if kind in ("side", "which"):
        sentences, measure, smaller = _comparative(lexicon, rng, kind)
        template = rng.choice(sentences)
        if kind == "side":
            base = rng.choice(SIDED)
            pair = structure_of(base, "left"), structure_of(base, "right")
            about = "cerebrum" if base == "hemisphere" else base
            text = _sentence(template, lexicon, rng, _Said(bases=(base,), base_measure=measure))
        else:
            first, second = _two(rng)
            pair = first.targets()[0], second.targets()[0]
            about = pair[0]
            text = _sentence(template, lexicon, rng, _Said(pieces=[first], other=[second], base_measure=measure))
        pair = (pair[1], pair[0]) if smaller else pair
        return Question("side" if kind == "side" else "which", *pair, about=about, measure=measure), text
    piece = _one(rng)
    target = piece.targets()[0]
    template = rng.choice(lexicon.sentences["did_grow" if kind == "grew" else "did_shrink"])
    measure = rng.choices(CHANGING, _CHANGING_WEIGHTS)[0] if "m" in template.slots() else "volume"
    text = _sentence(template, lexicon, rng, _Said(pieces=[piece], base_measure=measure))
    return Question("grew" if kind == "grew" else "shrank", target, target, about=target, measure=measure), text


def _comparative(lexicon: Lexicon, rng: Random, kind: str) -> tuple[tuple[Template, ...], str, bool]:
    """Sentences of a comparison, the measure compared, and whether the smaller one is asked for."""
    plain, smaller, other, thicker = {
        "side": ("which_side", "which_side_smaller", "which_side_of", "which_side_thicker"),
        "which": ("is_larger", "is_smaller", "is_larger_of", "is_thicker"),
    }[kind]
    draw = rng.random()
    if draw < 0.3 and lexicon.sentences[smaller]:
        return lexicon.sentences[smaller], "volume", True
    if draw > 0.85 and lexicon.sentences[other]:
        return lexicon.sentences[other], rng.choice(_COMPARED), False
    if draw > 0.8 and lexicon.sentences[thicker]:
        return lexicon.sentences[thicker], "mean_thickness", False
    return lexicon.sentences[plain], "volume", False


def _measures(rng: Random) -> tuple[str, ...]:
    number = rng.choices((1, 2, 3), (80, 15, 5))[0]
    drawn = dict.fromkeys(rng.choices(MEASURES, _MEASURE_WEIGHTS, k=number))
    if "centroid" in drawn:
        drawn = {name: None for name in drawn if not name.startswith("centroid_")}
    return tuple(drawn)


def _bases(rng: Random, names: Sequence[str], *, most: int = 6) -> tuple[str, ...]:
    number = rng.choices((1, 2, 3, 4, 5, 6), (62, 17, 11, 6, 2, 2))[0]
    return tuple(rng.sample(names, min(number, most)))


def _pieces(lexicon: Lexicon, rng: Random) -> list[Piece]:
    """Structures of one request; a piece without a side word never stands beside one with."""
    draw = rng.random()
    if lexicon.joint and draw < 0.03:
        bases = rng.choice(tuple(lexicon.joint))
        side = rng.choices(_SIDES, _SIDE_WEIGHTS)[0] if all(base in BILATERAL_NAMES for base in bases) else "union"
        more = rng.choice(BILATERAL_NAMES if side != "union" else _UNSIDED)
        return [Piece(side, (*bases, more) if rng.random() < 0.25 and more not in bases else bases)]
    if draw < 0.29:
        return [Piece("union", _bases(rng, _UNSIDED))]
    side = rng.choices(_SIDES, _SIDE_WEIGHTS)[0]
    if draw < 0.88:
        bases = _bases(rng, BILATERAL_NAMES if side == "union" else SIDED)
        if side != "union" and rng.random() < 0.08:
            bases = (*bases, rng.choice(_UNSIDED))
        return [Piece(side, bases)]
    if draw < 0.94:
        # left X and right Y, perhaps with more that says its side or has none
        first, second = rng.choice(_ORDERS)
        pair = rng.choices(SIDED, k=2)
        pieces = [Piece(first, (pair[0],)), Piece(second, (pair[1],))]
        pieces += [Piece(rng.choice(_ORDERS)[0], (b,)) for b in rng.sample(SIDED, rng.choice((0, 0, 0, 1, 2)))]
        if rng.random() < 0.25:
            pieces.insert(rng.randrange(len(pieces) + 1), Piece("union", (rng.choice(_UNSIDED),)))
        return pieces
    return [Piece("union", tuple(rng.sample((*_UNSIDED, *BILATERAL_NAMES), rng.choice((2, 3)))))]


def _one(rng: Random) -> Piece:
    if rng.random() < 0.45:
        return Piece("union", (rng.choice((*_UNSIDED, *BILATERAL_NAMES)),))
    return Piece(rng.choices(_SIDES[:3], (2, 1, 1))[0], (rng.choice(BILATERAL_NAMES),))


def _two(rng: Random) -> tuple[Piece, Piece]:
    if rng.random() < 0.3:
        base = rng.choice(SIDED)
        first, second = rng.choice(_ORDERS)
        return Piece(first, (base,)), Piece(second, (base,))
    first_piece = second_piece = _one(rng)
    while second_piece.bases == first_piece.bases:
        second_piece = _one(rng)
    return first_piece, second_piece


@dataclass(frozen=True, slots=True)
class _Said:
    """What the slots of a sentence stand for."""

    pieces: Sequence[Piece] = ()
    other: Sequence[Piece] = ()
    bases: Sequence[str] = ()
    measures: Sequence[str] = ()
    base_measure: str = "volume"


def _sentence(template: Template, lexicon: Lexicon, rng: Random, said: _Said) -> str:
    slots: dict[str, str | Callable[[], str]] = {
        "m": lambda: rng.choice((said.base_measure.replace("_", " "), lexicon.phrase(said.base_measure, rng))),
        "M": lambda: enumerated([lexicon.phrase(measure, rng) for measure in said.measures], lexicon, rng),
        "MS": lambda: _measure_phrase(lexicon, rng, pieces=said.pieces, slots=slots),
        "between_must": lambda: lexicon.phrase("between", rng) or " over time",
    }
    if said.pieces:
        slots |= _named(said.pieces, lexicon, rng, may_follow="S_suffix" in template.slots(), mark="S")
        slots["Sp"] = lambda: name_structures(said.pieces, lexicon, rng, may_follow=False, plural=True).bare
    if said.other:
        slots |= _named(said.other, lexicon, rng, may_follow=False, mark="S2")
    if said.bases:
        slots |= _bilateral(said.bases, lexicon, rng)
    return lexicon.fill(template, rng, slots)


def _named(pieces: Sequence[Piece], lexicon: Lexicon, rng: Random, *, may_follow: bool, mark: str) -> dict[str, str]:
    naming: Naming = name_structures(pieces, lexicon, rng, may_follow=may_follow)
    return {
        mark: naming.noun,
        f"{mark}_bare": naming.bare,
        f"{mark}_adj": naming.adjective,
        f"{mark}_suffix": naming.suffix if may_follow else "",
    }


def _measure_phrase(
    lexicon: Lexicon, rng: Random, *, pieces: Sequence[Piece], slots: dict[str, str | Callable[[], str]]
) -> str:
    template = rng.choice(lexicon.rules["measure_np"])
    again = _named(pieces, lexicon, rng, may_follow="S_suffix" in template.slots(), mark="S")
    return lexicon.fill(template, rng, slots | again)


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
