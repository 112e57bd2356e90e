"""Draw questions that are answered after something was read: which, whether, on which side, how good, how bright."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from vp_engine.agent.language.choosing import (
    COMPARED,
    PATHOLOGY,
    changing_measure,
    one_measure,
    one_piece,
    two_pieces,
)
from vp_engine.agent.language.grammar import Template
from vp_engine.agent.language.lengths import length_slots, some_length
from vp_engine.agent.language.lexicon import Lexicon
from vp_engine.agent.language.meaning import (
    Asked,
    Contrast,
    Largest,
    Presence,
    Quality,
    Question,
    Region,
    Target,
    halves,
    in_hemisphere,
    structure_of,
)
from vp_engine.agent.language.naming import SIDED, Naming, Piece, enumerated, name_structures
from vp_engine.agent.language.regions import HALVED, name_half, spoken_lesions
from vp_engine.agent.language.requests import Drawn
from vp_engine.agent.language.sentences import Said, Slotted, fitting, sentence
from vp_engine.environment.vocabulary import COMPARISONS, QUALITIES

SHOWN: tuple[str, ...] = ("T1w", "T2w", "FLAIR", "PDw", "")
"""Contrasts whose features the agent can be shown; the last stands for what it cannot tell."""
_SHOWN_WEIGHTS = (26, 26, 22, 14, 12)

# names of diseases are no names of what can be seen
_DISEASES = ("glioma", "meningioma", "glioblastoma", "stroke", "strokes", "gliomas", "leukoaraiosis")
_BY_BRIGHTNESS = 0.08
_DESCRIBED = ("volume", "max_diameter", "centroid", "mean_intensity")
_REFERENCE = "white_matter"
_WITHOUT_REFERENCE = ("white_matter", "cerebral_white_matter", "brain", "intracranial_volume", "cerebrum", "hemisphere")


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
            text = sentence(template, lexicon, rng, Said(bases=(base,), base_measure=measure))
        else:
            first, second = two_pieces(rng)
            pair = first.targets()[0], second.targets()[0]
            about = pair[0]
            text = sentence(template, lexicon, rng, Said(pieces=[first], other=[second], base_measure=measure))
        pair = (pair[1], pair[0]) if smaller else pair
        return Question("side" if kind == "side" else "which", *pair, about=about, measure=measure), text
    piece = one_piece(rng)
    target = piece.targets()[0]
    template = rng.choice(lexicon.sentences["did_grow" if kind == "grew" else "did_shrink"])
    measure = changing_measure(rng) if "m" in template.slots() else "volume"
    text = sentence(template, lexicon, rng, Said(pieces=[piece], base_measure=measure))
    return Question("grew" if kind == "grew" else "shrank", target, target, about=target, measure=measure), text


def _comparative(lexicon: Lexicon, rng: Random, kind: str) -> tuple[tuple[Template, ...], str, bool]:
    """Sentences of a comparison, the measure compared, and whether the smaller one is asked for."""
    plain, smaller, other, thicker = {
        "side": ("which_side", "which_side_smaller", "which_side_of", "which_side_thicker"),
        "which": ("is_larger", "is_smaller", "is_larger_of", "is_thicker"),
    }[kind]
    if rng.random() < _BY_BRIGHTNESS:
        brighter = kind == "side" or rng.random() < 0.5
        name = "which_side_brighter" if kind == "side" else "is_brighter" if brighter else "is_darker"
        return lexicon.sentences[name], "mean_intensity", not brighter
    draw = rng.random()
    if draw < 0.3 and lexicon.sentences[smaller]:
        return lexicon.sentences[smaller], "volume", True
    if draw > 0.85 and lexicon.sentences[other]:
        return lexicon.sentences[other], rng.choice(COMPARED), False
    if draw > 0.8 and lexicon.sentences[thicker]:
        return lexicon.sentences[thicker], "mean_thickness", False
    return lexicon.sentences[plain], "volume", False


def draw_halves(lexicon: Lexicon, rng: Random) -> Drawn:
    """Whether one half of a structure is larger than the other."""
    piece = one_piece(rng)
    while piece.bases[0] not in HALVED:
        piece = one_piece(rng)
    way, other = rng.choice((("anterior", "posterior"), ("superior", "inferior")))
    if rng.random() < 0.5:
        way, other = other, way
    name = piece.targets()[0]
    first, second = (Region("part", (name,), direction) for direction in (way, other))
    said = [name_half(piece, way, lexicon, rng), name_half(piece, other, lexicon, rng)]
    if rng.random() < 0.5:
        short = f"the {lexicon.phrase(f'dir_{other}', rng)} {rng.choice(('half', 'part', 'one'))}"
        said[1] = Naming(short, short, "", "")
    smaller = rng.random() < 0.3
    choices = lexicon.sentences["is_smaller" if smaller else "is_larger"]
    both = [template for template in fitting(choices, said[0]) if template in fitting(choices, said[1], "S2")]
    if not both:
        return draw_question(lexicon, rng)
    text = sentence(rng.choice(both), lexicon, rng, Said(region=said[0], other_region=said[1]))
    pair = (second, first) if smaller else (first, second)
    return Question("which", *pair, about=name), text


def draw_side_numbers(lexicon: Lexicon, rng: Random) -> Drawn:
    """Which side is larger, with the volumes of both or their asymmetry."""
    base = rng.choice(SIDED)
    first, second = halves(base)
    about = "cerebrum" if base == "hemisphere" else base
    asked = rng.random() < 0.4
    template = rng.choice(lexicon.sentences["side_numbers_asymmetry" if asked else "side_numbers"])
    text = sentence(template, lexicon, rng, Said(bases=(base,)))
    return Question("side", first, second, about=about, numbers="asymmetry" if asked else "both"), text


def draw_presence(lexicon: Lexicon, rng: Random) -> Drawn:
    """Whether there are lesions, and if so how many or how large."""
    base = _lesion(rng)
    slots = _lesion_slots(base, lexicon, rng)
    target: Target = base
    draw = rng.random()
    if draw < 0.12:
        side = rng.choice(("left", "right"))
        target, name = in_hemisphere(base, side), "presence_side"
        slots |= {"side": side}
    elif draw < 0.2:
        length, other = some_length(rng), Piece("union", (rng.choice(("ventricles", "lateral_ventricle", "thalamus")),))
        target, name = Region("near", (base, other.bases[0]), length), "presence_near"
        slots |= length_slots(length, rng) | {"Y": name_structures([other], lexicon, rng, may_follow=False).noun}
    else:
        name = rng.choices(
            ("presence", "presence_count", "presence_volume", "presence_both", "presence_show"), (55, 16, 14, 7, 8)
        )[0]
    wanted = {"presence_count": ("count",), "presence_volume": ("volume",), "presence_both": ("count", "volume")}
    text = sentence(rng.choice(lexicon.sentences[name]), lexicon, rng, Said(extra=slots))
    return Presence(target, base, wanted.get(name, ()), save=name == "presence_show"), text


def draw_largest(lexicon: Lexicon, rng: Random) -> Drawn:
    """Numbers of the largest lesion, if there is one."""
    base = _lesion(rng)
    slots = _lesion_slots(base, lexicon, rng)
    if rng.random() < 0.55:
        measures = tuple(rng.sample((*_DESCRIBED, "surface_area", "sphericity"), rng.choice((1, 1, 2, 2, 3))))
        article = rng.choice(("", "the "))
        asked = enumerated([lexicon.phrase(measure, rng) for measure in measures], lexicon, rng)
        slots["ASKED"] = article + asked
        text = sentence(rng.choice(lexicon.sentences["describe_some"]), lexicon, rng, Said(extra=slots))
        return Largest(base, base, measures), text
    name, measure = rng.choice(
        (
            ("describe_volume", "volume"),
            ("describe_volume", "volume"),
            ("describe_length", "max_diameter"),
            ("describe_brightness", "mean_intensity"),
        )
    )
    return Largest(base, base, (measure,)), sentence(
        rng.choice(lexicon.sentences[name]), lexicon, rng, Said(extra=slots)
    )


def draw_lesion_side(lexicon: Lexicon, rng: Random) -> Drawn:
    """On which side most of the lesions are; that of a single one is described (`lesion_requests`)."""
    base = _lesion(rng)
    while not lexicon.names[base].plurals:
        base = _lesion(rng)
    slots = _lesion_slots(base, lexicon, rng)
    first, second = halves(base)
    name = rng.choices(("lesion_side", "lesion_side_less", "lesion_side_numbers"), (72, 12, 16))[0]
    if name == "lesion_side_less":
        first, second = second, first
    text = sentence(rng.choice(lexicon.sentences[name]), lexicon, rng, Said(extra=slots))
    return Question("side", first, second, about=base, numbers="both" if name == "lesion_side_numbers" else ""), text


def draw_brightness(lexicon: Lexicon, rng: Random) -> Drawn:
    """Whether a structure is brighter or darker than white matter, or lesions are; a single one is described."""
    template = rng.choice(lexicon.sentences["brightness"])
    if rng.random() < 0.35:
        base = rng.choices(("lesion", "white_matter_lesion"), (60, 40))[0]
        named = spoken_lesions(base, lexicon, rng)
        target, said = base, Said(region=replace(named, noun=named.noun.removeprefix("all ")))
    else:
        piece = one_piece(rng)
        while piece.bases[0] in _WITHOUT_REFERENCE or piece.bases[0] in PATHOLOGY:
            piece = one_piece(rng)
        target, said = piece.targets()[0], Said(pieces=[piece])
    text = sentence(template, lexicon, rng, said)
    return Question("brightness", target, _REFERENCE, about=target, measure="mean_intensity"), text


def draw_quality(lexicon: Lexicon, rng: Random) -> Drawn:
    """Whether a segmentation is good; or a measure on another contrast in case it is not."""
    piece = one_piece(rng)
    target = piece.targets()[0]
    if rng.random() < 0.45:
        template = rng.choice(lexicon.sentences["quality"])
        return Quality(target), sentence(template, lexicon, rng, Said(pieces=[piece]))
    measure = rng.choice(("volume", "volume", "volume", one_measure(rng)))
    first, second = rng.sample(SHOWN[:4], 2)
    if rng.random() < 0.3:
        name, first = "quality_otherwise", ""
    else:
        name = "quality_instead"
    slots: Slotted = {"c": lambda: _contrast(lexicon, first, rng), "c2": lambda: _contrast(lexicon, second, rng)}
    said = Said(pieces=[piece], measures=(measure,), extra=slots)
    text = sentence(rng.choice(lexicon.sentences[name]), lexicon, rng, said)
    return Quality(target, (measure,), instead=second, at_first=first), text


def draw_contrast(lexicon: Lexicon, rng: Random) -> Drawn:
    """What contrast the image has."""
    first, second = rng.sample(SHOWN[:4], 2)
    slots: Slotted = {"c": lambda: _contrast(lexicon, first, rng), "c2": lambda: _contrast(lexicon, second, rng)}
    return Contrast(), sentence(rng.choice(lexicon.sentences["contrast_kind"]), lexicon, rng, Said(extra=slots))


def draw_found(asked: Asked, rng: Random) -> tuple[str, str, str]:
    """What is read of a question: its sense (see `second_step`), its text, and the contrast shown if any."""
    match asked:
        case Question():
            found = rng.choices(COMPARISONS, (42, 42, 16))[0]
            return found, found, ""
        case Presence(target):
            number = rng.choices((0, 1, rng.randint(2, 9), rng.randint(10, 120)), (35, 15, 30, 20))[0]
            return ("some" if number else "none"), f"count({name_of(target)})={number} 1", ""
        case Largest(target):
            amount = 0.0 if rng.random() < 0.3 else 10 ** rng.uniform(0.5, 5.0)
            return ("some" if amount else "none"), f"volume({name_of(target)}_largest)={amount:.6g} mm3", ""
        case Quality():
            found = rng.choice(QUALITIES)
            return found, found, ""
        case Contrast():
            shown = rng.choices(SHOWN, _SHOWN_WEIGHTS)[0]
            return shown, "features", shown


def name_of(target: Target) -> str:
    """What the environment calls a structure or a region.

    >>> name_of(in_hemisphere("lesion", "left"))
    'lesion_nearer_left_hemisphere'
    """
    if isinstance(target, str):
        return target
    names = [name_of(operand) for operand in target.operands]
    match target.op:
        case "nearer":
            return f"{names[0]}_nearer_{names[1]}"
        case "near":
            return f"{names[0]}_within_{target.word}_of_{names[1]}"
        case "changed":
            return f"{names[0]}_{target.word}"
        case "located":
            return f"{names[0]}_in_{target.word}"
        case "at_least":
            return f"{names[0]}_at_least_{target.word}"
        case "touching":
            return f"{names[0]}_touching_{names[1]}"
    raise ValueError(f"expected a region that questions are about, got {target.op}")


def _lesion(rng: Random) -> str:
    return rng.choices(("lesion", "white_matter_lesion", rng.choice(PATHOLOGY)), (50, 28, 22))[0]


def _lesion_slots(base: str, lexicon: Lexicon, rng: Random) -> Slotted:
    words = lexicon.names[base]
    nouns = [noun for noun in words.nouns if noun not in _DISEASES] or list(words.nouns)
    plurals = [noun.removeprefix("all ") for noun in words.plurals if noun not in _DISEASES]
    many = rng.choice(plurals or nouns)
    return {
        "X": rng.choice(("the ", "the ", "")) + many,
        "Xp": many,
        "X1": rng.choice(nouns),
        "X_adj": rng.choice(words.adjectives),
    }


def _contrast(lexicon: Lexicon, suffix: str, rng: Random) -> str:
    return str(rng.choice(lexicon.rules[suffix]).items[0])
