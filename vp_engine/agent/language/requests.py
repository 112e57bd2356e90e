"""Draw a clause: what is asked for, and a sentence that asks for it."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from vp_engine.agent.language.choosing import (
    COUNTABLE,
    ORDERS,
    PATHOLOGY,
    UNSIDED,
    changing_measure,
    one_measure,
    one_piece,
    some_bases,
    some_measures,
    some_pieces,
    two_pieces,
)
from vp_engine.agent.language.grammar import Template, parse_template
from vp_engine.agent.language.lexicon import Lexicon
from vp_engine.agent.language.meaning import (
    Asymmetry,
    Change,
    Clause,
    Distance,
    Everything,
    Measure,
    Ratio,
    structure_of,
)
from vp_engine.agent.language.naming import SIDED, Piece, enumerated, targets_of
from vp_engine.agent.language.sentences import Said, sentence
from vp_engine.anatomy import BILATERAL_NAMES

UNITS = {"volume": "unit", "surface_area": "unit_area", "max_diameter": "unit_length", "mean_thickness": "unit_length"}
DENOMINATORS = ("intracranial_volume", "brain", "cerebrum", "gray_matter", "white_matter", "cerebellum", "ventricles")

Drawn = tuple[Clause, str]
_BARE = parse_template("{MS}")
SHORT = tuple(map(parse_template, ("{MS}", "{MS}", "{do} {MS}", "what {is} {MS}", "{do} {MS}")))
_NOUN = parse_template("{S}")
_SHORT_SHOW = parse_template("{draw} {S}")


def draw_measure(lexicon: Lexicon, rng: Random) -> Drawn:
    """Numbers of some structures."""
    if rng.random() < 0.015:
        template = rng.choice(lexicon.sentences["ask_icv"])
        text = sentence(template, lexicon, rng, Said(pieces=[Piece("union", ("icv",))]))
        return Measure(("intracranial_volume",), ("volume",)), text
    measures = some_measures(rng)
    pieces = some_pieces(lexicon, rng)
    single = measures[0] if len(measures) == 1 else ""
    if single == "count" or (single == "volume" and rng.random() < 0.06):
        pieces = [Piece("union", (rng.choice(COUNTABLE if rng.random() < 0.8 else PATHOLOGY),))]
    while single == "centroid" and any(base in PATHOLOGY for piece in pieces for base in piece.bases):
        # where a lesion is, is said in words
        pieces = some_pieces(lexicon, rng)
    choices = lexicon.sentences["measure"]
    if f"ask_{single}" in lexicon.sentences and lexicon.sentences[f"ask_{single}"] and rng.random() < 0.4:
        choices = lexicon.sentences[f"ask_{single}"]
    if single == "volume" and pieces[0].bases[0] in PATHOLOGY and len(pieces) == 1 and rng.random() < 0.5:
        choices = lexicon.sentences["ask_load"]
    template = rng.choice(choices)
    text = sentence(template, lexicon, rng, Said(pieces=pieces, measures=measures))
    if single in UNITS and rng.random() < 0.12:
        text += lexicon.phrase(UNITS[single], rng)
    return Measure(targets_of(pieces), measures), text


def draw_list(lexicon: Lexicon, rng: Random) -> tuple[list[Clause], str]:
    """Several measures, each of structures of its own, in one enumeration."""
    clauses: list[Clause] = []
    phrases: list[str] = []
    kinds = rng.choices((_listed_measure, _listed_asymmetry, _listed_ratio, _listed_distance), (64, 18, 11, 7), k=3)
    for kind in kinds[: rng.choice((2, 2, 3))]:
        clause, phrase = kind(lexicon, rng)
        # two rows with one target and one measure could not be told apart
        if isinstance(clause, Measure) or not any(type(other) is type(clause) for other in clauses):
            clauses.append(clause)
            phrases.append(phrase)
    text = enumerated(phrases, lexicon, rng)
    return clauses, (f"{lexicon.phrase('do', rng)} {text}" if rng.random() < 0.6 else text)


def _listed_measure(lexicon: Lexicon, rng: Random) -> Drawn:
    measures = (one_measure(rng),)
    pieces = some_pieces(lexicon, rng)[:1]
    return Measure(targets_of(pieces), measures), sentence(_BARE, lexicon, rng, Said(pieces=pieces, measures=measures))


def _listed_asymmetry(lexicon: Lexicon, rng: Random) -> Drawn:
    base = rng.choice(SIDED)
    return Asymmetry((base,)), sentence(rng.choice(lexicon.rules["asymmetry_np"]), lexicon, rng, Said(bases=(base,)))


def _listed_ratio(lexicon: Lexicon, rng: Random) -> Drawn:
    first, second = two_pieces(rng)
    said = Said(pieces=[first], other=[second])
    return Ratio(first.targets(), second.targets()[0]), sentence(
        rng.choice(lexicon.rules["ratio_np"]), lexicon, rng, said
    )


def _listed_distance(lexicon: Lexicon, rng: Random) -> Drawn:
    first, second = two_pieces(rng)
    said = Said(pieces=[first], other=[second])
    return Distance(first.targets()[0], second.targets()[0]), sentence(
        rng.choice(lexicon.rules["distance_np"]), lexicon, rng, said
    )


def draw_respectively(lexicon: Lexicon, rng: Random) -> tuple[list[Clause], str]:
    """Each measure of its own structure, all measures first."""
    number = rng.choice((2, 2, 3))
    measures = rng.sample(("volume", "surface_area", "mean_thickness", "mean_intensity", "max_diameter"), number)
    pieces = [rng.choice((piece, Piece("union", piece.bases))) for piece in (one_piece(rng) for _ in range(number))]
    said = [sentence(_NOUN, lexicon, rng, Said(pieces=[piece])) for piece in pieces]
    listed = enumerated([lexicon.phrase(measure, rng) for measure in measures], lexicon, rng)
    text = f"{listed} of {enumerated(said, lexicon, rng)}{rng.choice((', respectively', ' respectively', ', resp.'))}"
    clauses: list[Clause] = [Measure(p.targets(), (m,)) for p, m in zip(pieces, measures, strict=True)]
    return clauses, f"{lexicon.phrase('do', rng)} {text}" if rng.random() < 0.6 else text


def draw_short(lexicon: Lexicon, rng: Random) -> Drawn:
    """One measure or the mask of structures in the fewest words."""
    pieces = some_pieces(lexicon, rng)[:1]
    if rng.random() < 0.2:
        text = sentence(_SHORT_SHOW, lexicon, rng, Said(pieces=pieces))
        return Measure(targets_of(pieces), (), save=True), text
    measures = (one_measure(rng),)
    text = sentence(rng.choice(SHORT), lexicon, rng, Said(pieces=pieces, measures=measures))
    return Measure(targets_of(pieces), measures), text


def draw_unmeasurable(lexicon: Lexicon, rng: Random, measure: str) -> str:
    """A request for a measure that is none of the vocabulary, in the words of those that are."""
    rules = {**lexicon.rules, "volume": (Template((measure,)),)}
    said = Said(pieces=some_pieces(lexicon, rng), measures=("volume",))
    return sentence(rng.choice(lexicon.sentences["measure"]), replace(lexicon, rules=rules), rng, said)


def draw_show(lexicon: Lexicon, rng: Random) -> Drawn:
    """Masks of some structures, with or without numbers."""
    pieces = some_pieces(lexicon, rng)
    if rng.random() < 0.75:
        template = rng.choice(lexicon.sentences["show"])
        return Measure(targets_of(pieces), (), save=True), sentence(template, lexicon, rng, Said(pieces=pieces))
    measures = some_measures(rng)
    template = rng.choice(lexicon.sentences["show_and_measure"])
    if not {"M", "MS"} & template.slots():
        measures = ("volume",)
    text = sentence(template, lexicon, rng, Said(pieces=pieces, measures=measures))
    return Measure(targets_of(pieces), measures, save=True), text


def draw_asymmetry(lexicon: Lexicon, rng: Random) -> Drawn:
    """Asymmetry of a bilateral structure, sometimes of several."""
    bases = some_bases(rng, SIDED, most=3)
    measure = "volume"
    if rng.random() < 0.2:
        measure = rng.choice(("volume", "surface_area", "mean_thickness", "mean_intensity", "max_diameter"))
        template = rng.choice(lexicon.sentences["asymmetry_of"])
    else:
        template = rng.choice(lexicon.sentences["asymmetry"])
    return Asymmetry(bases, measure), sentence(template, lexicon, rng, Said(bases=bases, base_measure=measure))


def draw_ratio(lexicon: Lexicon, rng: Random) -> Drawn:
    """Volume of structures over the volume of another."""
    draw = rng.random()
    if draw < 0.12:
        base = rng.choice(SIDED)
        first, second = rng.choice(ORDERS)
        pieces, other = [Piece(first, (base,))], [Piece(second, (base,))]
        template = rng.choice(lexicon.sentences["ratio"])
        text = sentence(template, lexicon, rng, Said(pieces=pieces, other=other))
        return Ratio(targets_of(pieces), targets_of(other)[0]), text
    name = rng.choice(DENOMINATORS) if rng.random() < 0.75 else rng.choice((*UNSIDED, *BILATERAL_NAMES))
    implied = draw < 0.5 and bool(lexicon.sentences["ratio_icv"])
    pieces = some_pieces(lexicon, rng)
    while ("intracranial_volume" if implied else name) in targets_of(pieces):
        pieces = some_pieces(lexicon, rng)
    if implied:
        template = rng.choice(lexicon.sentences["ratio_icv"])
        return Ratio(targets_of(pieces), "intracranial_volume"), sentence(template, lexicon, rng, Said(pieces=pieces))
    other = [Piece("union", (name,))]
    template = rng.choice(lexicon.sentences["ratio"])
    return Ratio(targets_of(pieces), name), sentence(template, lexicon, rng, Said(pieces=pieces, other=other))


def draw_distance(lexicon: Lexicon, rng: Random) -> Drawn:
    """Distance between two structures."""
    sides = lexicon.sentences["distance_sides"]
    if sides and rng.random() < 0.2:
        base = rng.choice(SIDED)
        text = sentence(rng.choice(sides), lexicon, rng, Said(bases=(base,)))
        return Distance(structure_of(base, "left"), structure_of(base, "right")), text
    first, second = two_pieces(rng)
    template = rng.choice(lexicon.sentences["distance"])
    text = sentence(template, lexicon, rng, Said(pieces=[first], other=[second]))
    if rng.random() < 0.1:
        text += lexicon.phrase("unit_length", rng)
    return Distance(first.targets()[0], second.targets()[0]), text


def draw_everything(lexicon: Lexicon, rng: Random) -> Drawn:
    """All parts."""
    draw = rng.random()
    if draw < 0.4:
        return Everything(()), sentence(rng.choice(lexicon.sentences["all_show"]), lexicon, rng, Said())
    if draw < 0.6 and lexicon.sentences["all_volume"]:
        return Everything(("volume",)), sentence(rng.choice(lexicon.sentences["all_volume"]), lexicon, rng, Said())
    measures = some_measures(rng)
    return Everything(measures), sentence(
        rng.choice(lexicon.sentences["all_measure"]), lexicon, rng, Said(measures=measures)
    )


def draw_change(lexicon: Lexicon, rng: Random) -> Drawn:
    """Change of structures between sessions, absolute, in percent, per year."""
    op = rng.choices(("change", "percent_change", "annual_rate", "annual_percent_rate"), (40, 27, 25, 8))[0]
    worded = f"{op}_volume"
    pieces = some_pieces(lexicon, rng)
    if lexicon.sentences.get(worded) and rng.random() < 0.35:
        return Change(op, targets_of(pieces)), sentence(
            rng.choice(lexicon.sentences[worded]), lexicon, rng, Said(pieces=pieces)
        )
    measure = changing_measure(rng)
    template = rng.choice(lexicon.sentences[op])
    if "m" not in template.slots():
        measure = "volume"
    lesions = measure == "volume" and all(base in PATHOLOGY for piece in pieces for base in piece.bases)
    worded_as = rng.choice(("load", "burden", measure, measure)) if lesions else measure
    text = sentence(template, lexicon, rng, Said(pieces=pieces, base_measure=worded_as))
    return Change(op, targets_of(pieces), measure), text
