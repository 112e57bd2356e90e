"""Draw what is asked of regions, and what is cut out of images."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from vp_engine.agent.language.choosing import PATHOLOGY, one_measure, some_measures
from vp_engine.agent.language.lengths import length_slots, some_length
from vp_engine.agent.language.lexicon import Lexicon
from vp_engine.agent.language.meaning import (
    Asymmetry,
    Change,
    Clause,
    Cutout,
    Distance,
    Measure,
    Ratio,
    Region,
    Target,
    in_hemisphere,
)
from vp_engine.agent.language.naming import Naming, Piece
from vp_engine.agent.language.regions import (
    ANATOMY,
    AROUND,
    DIRECTIONS,
    HALVED,
    as_slots,
    combined,
    draw_region,
    half_of,
    largest_of,
    lesion_slots,
    some_lesion,
    some_piece,
    spoken,
    to_resize,
)
from vp_engine.agent.language.requests import DENOMINATORS, SHORT, UNITS, Drawn
from vp_engine.agent.language.sentences import Said, Slotted, fitting, sentence
from vp_engine.anatomy import BILATERAL_NAMES

SCAN = "<scan>"
"""Stands for the image in a sentence until its contrast is known."""
_MEASURES = ("volume",) * 6 + ("mean_intensity",) * 3 + ("surface_area", "median_intensity", "std_intensity",
             "max_diameter", "mean_thickness", "sphericity", "centroid")  # fmt: skip


def draw_region_measure(lexicon: Lexicon, rng: Random) -> Drawn:
    """Numbers of a region."""
    draw = rng.random()
    if draw < 0.1:
        return _as_one(lexicon, rng, "union_measure")
    if draw < 0.16:
        return _resized(lexicon, rng, measured=True)
    targets, naming = draw_region(lexicon, rng)
    measures = (rng.choice(_MEASURES),) if rng.random() < 0.85 else tuple(m for m in some_measures(rng) if m != "count")
    if naming.plural and rng.random() < 0.3:
        measures = ("count",)
    return measure_region(targets, naming, measures or ("volume",), lexicon, rng)


def measure_region(
    targets: tuple[Target, ...], naming: Naming, measures: tuple[str, ...], lexicon: Lexicon, rng: Random
) -> Drawn:
    """Measures of what is called by a name."""
    if measures == ("count",) and naming.suffix and naming.plural.endswith(naming.suffix) and rng.random() < 0.6:
        extra: Slotted = {"Xp": naming.plural.removesuffix(naming.suffix), "WHERE": naming.suffix}
        text = sentence(rng.choice(lexicon.sentences["count_where"]), lexicon, rng, Said(extra=extra))
        return Measure(targets, measures), text
    choices = fitting(lexicon.sentences["measure"], naming)
    # where a lesion is, is said in words
    worded = len(measures) == 1 and not (measures == ("centroid",) and _is_lesion(targets[0]))
    own = fitting(lexicon.sentences.get(f"ask_{measures[0]}", ()), naming) if worded else []
    if naming.plural and measures == ("volume",):
        own += fitting(lexicon.sentences["ask_load"], naming)
    if own and rng.random() < (0.7 if measures == ("count",) else 0.4):
        choices = own
    text = sentence(rng.choice(choices), lexicon, rng, Said(region=naming, measures=measures))
    if measures[0] in UNITS and len(measures) == 1 and rng.random() < 0.12:
        text += lexicon.phrase(UNITS[measures[0]], rng)
    return Measure(targets, measures), text


def _is_lesion(target: Target) -> bool:
    return target in PATHOLOGY if isinstance(target, str) else _is_lesion(target.operands[0])


def draw_region_short(lexicon: Lexicon, rng: Random) -> Drawn:
    """A measure of a region in the fewest words."""
    targets, naming = draw_region(lexicon, rng)
    measure = rng.choice(_MEASURES)
    if naming.plural and rng.random() < 0.3:
        measure = "count"
    template = rng.choice(SHORT)
    return Measure(targets, (measure,)), sentence(template, lexicon, rng, Said(region=naming, measures=(measure,)))


def draw_region_show(lexicon: Lexicon, rng: Random) -> Drawn:
    """The mask of a region, with or without numbers."""
    draw = rng.random()
    if draw < 0.15:
        return _as_one(lexicon, rng, "union_show")
    if draw < 0.35:
        return _resized(lexicon, rng, measured=False)
    if draw < 0.5:
        name = rng.choice(("difference_show", "intersection_show")) if draw < 0.45 else "part_show"
        return _worked_out(lexicon, rng, name)
    targets, naming = draw_region(lexicon, rng)
    measures = () if rng.random() < 0.8 else (rng.choice(_MEASURES),)
    return show_region(targets, naming, measures, lexicon, rng)


def show_region(
    targets: tuple[Target, ...], naming: Naming, measures: tuple[str, ...], lexicon: Lexicon, rng: Random
) -> Drawn:
    """The mask of what is called by a name, with measures or without."""
    if not measures:
        template = rng.choice(fitting(lexicon.sentences["show"], naming))
        return Measure(targets, (), save=True), sentence(template, lexicon, rng, Said(region=naming))
    template = rng.choice(fitting(lexicon.sentences["show_and_measure"], naming))
    if not {"M", "MS"} & template.slots():
        measures = ("volume",)
    return Measure(targets, measures, save=True), sentence(
        template, lexicon, rng, Said(region=naming, measures=measures)
    )


def draw_region_change(lexicon: Lexicon, rng: Random) -> Drawn:
    """Change of a region between sessions."""
    targets, naming = draw_region(lexicon, rng)
    op = rng.choices(("change", "percent_change", "annual_rate", "annual_percent_rate"), (40, 27, 25, 8))[0]
    worded = fitting(lexicon.sentences.get(f"{op}_volume", ()), naming)
    if worded and rng.random() < 0.35:
        return Change(op, targets), sentence(rng.choice(worded), lexicon, rng, Said(region=naming))
    choices = fitting(lexicon.sentences[op], naming)
    if not choices:
        return draw_region_measure(lexicon, rng)
    template = rng.choice(choices)
    measure = rng.choice(("volume", "volume", "volume", "mean_intensity")) if "m" in template.slots() else "volume"
    measure = "count" if naming.plural and "m" in template.slots() and rng.random() < 0.25 else measure
    worded_as = rng.choice(("load", "burden", measure)) if naming.plural and measure == "volume" else measure
    said = Said(region=naming, base_measure=worded_as)
    return Change(op, targets, measure), sentence(template, lexicon, rng, said)


def draw_region_ratio(lexicon: Lexicon, rng: Random) -> Drawn:
    """Volume of a region over that of a structure, or of all that it is a share of."""
    if rng.random() < 0.4:
        return _share(lexicon, rng)
    targets, naming = draw_region(lexicon, rng)
    name = rng.choice(DENOMINATORS)
    if naming.plural and rng.random() < 0.25:
        # of all the lesions
        name = str(targets[0].operands[0]) if isinstance(targets[0], Region) else name
    implied = fitting(lexicon.sentences["ratio_icv"], naming)
    if implied and name in DENOMINATORS and rng.random() < 0.4:
        return Ratio(targets, "intracranial_volume"), sentence(rng.choice(implied), lexicon, rng, Said(region=naming))
    template = rng.choice(fitting(lexicon.sentences["ratio"], naming))
    said = Said(region=naming, other=[Piece("union", (name,))])
    return Ratio(targets, name), sentence(template, lexicon, rng, said)


def draw_region_asymmetry(lexicon: Lexicon, rng: Random) -> Drawn:
    """Asymmetry of one half of a bilateral structure, or of lesions between the hemispheres."""
    if rng.random() < 0.35:
        base = some_lesion(rng)
        template = rng.choice(lexicon.sentences["asymmetry_lesion"])
        return Asymmetry((base,)), sentence(template, lexicon, rng, Said(extra=lesion_slots(base, lexicon, rng)))
    base, direction = rng.choice(BILATERAL_NAMES), rng.choice(DIRECTIONS)
    said = Said(bases=(base,), extra={"D": lambda: lexicon.phrase(f"dir_{direction}", rng)})
    return Asymmetry((base,), direction=direction), sentence(
        rng.choice(lexicon.sentences["asymmetry_part"]), lexicon, rng, said
    )


def draw_region_distance(lexicon: Lexicon, rng: Random) -> Drawn:
    """Distance of the largest lesion from a structure."""
    targets, naming = largest_of(lexicon, rng, lesions=True)
    other = Piece("union", (rng.choice(AROUND),))
    template = rng.choice(lexicon.sentences["distance_largest"])
    said = Said(region=naming, other=[other])
    return Distance(targets[0], other.targets()[0]), sentence(template, lexicon, rng, said)


def draw_cutout(lexicon: Lexicon, rng: Random) -> Drawn:
    """A copy of the image without the skull, with one structure only, or cut to a box."""
    draw = rng.random()
    scan: Slotted = {"scan": SCAN}
    if draw < 0.34:
        text = sentence(rng.choice(lexicon.sentences["strip"]), lexicon, rng, Said(extra=scan))
        return Cutout("isolate", ("intracranial_volume",)), text
    kind = "isolate" if draw < 0.67 else "crop"
    target, naming = _cut_to(lexicon, rng, kind)
    text = sentence(rng.choice(lexicon.sentences[kind]), lexicon, rng, Said(region=naming, extra=scan))
    return Cutout("isolate" if kind == "isolate" else "crop", (target,)), text


def _as_one(lexicon: Lexicon, rng: Random, name: str) -> Drawn:
    target, slots, _ = combined("union", lexicon, rng)
    measures = (rng.choice(("volume", "volume", "volume", one_measure(rng))),)
    text = sentence(rng.choice(lexicon.sentences[name]), lexicon, rng, Said(measures=measures, extra=slots))
    if name == "union_measure":
        return Measure((target,), measures), text
    return Measure((target,), (), save=True), text


def _resized(lexicon: Lexicon, rng: Random, *, measured: bool) -> Drawn:
    piece, op, length = to_resize(rng)
    targets = tuple(Region(op, (name,), length) for name in piece.targets())
    slots = as_slots("X", spoken(piece, lexicon, rng))[0] | length_slots(length, rng)
    if not measured:
        template = rng.choice(lexicon.sentences[f"{op}_show"])
        return Measure(targets, (), save=True), sentence(template, lexicon, rng, Said(extra=slots))
    measures = (rng.choice(_MEASURES),)
    template = rng.choice(lexicon.sentences[f"{op}_measure"])
    return Measure(targets, measures), sentence(template, lexicon, rng, Said(measures=measures, extra=slots))


def _worked_out(lexicon: Lexicon, rng: Random, name: str) -> Drawn:
    """A mask by what is to be done for it."""
    if name == "part_show":
        piece, direction = some_piece(rng, HALVED), rng.choice(DIRECTIONS)
        slots = as_slots("X", spoken(piece, lexicon, rng))[0] | {"D": lambda: lexicon.phrase(f"dir_{direction}", rng)}
        target = Region("part", (piece.targets()[0],), direction)
    else:
        target, slots, _ = combined(name.removesuffix("_show"), lexicon, rng)
    text = sentence(rng.choice(lexicon.sentences[name]), lexicon, rng, Said(extra=slots))
    return Measure((target,), (), save=True), text


def _share(lexicon: Lexicon, rng: Random) -> Drawn:
    """What part of the lesions lies in a hemisphere or near a structure."""
    base = some_lesion(rng)
    where: Callable[[], str]
    if rng.random() < 0.5:
        side = rng.choice(("left", "right"))
        target = in_hemisphere(base, side)
        where = lambda: rng.choice((f"in the {side} hemisphere", f"on the {side}", f"on the {side} side"))  # noqa: E731
    else:
        other, length = Piece("union", (rng.choice(AROUND),)), some_length(rng)
        target = Region("near", (base, other.targets()[0]), length)
        slots = as_slots("Y", spoken(other, lexicon, rng))[0] | length_slots(length, rng)
        where = lambda: lexicon.phrase("near_suffix", rng, slots).strip(" ,")  # noqa: E731
    extra = lesion_slots(base, lexicon, rng) | {"WHERE": where}
    return Ratio((target,), base), sentence(rng.choice(lexicon.sentences["share"]), lexicon, rng, Said(extra=extra))


def _cut_to(lexicon: Lexicon, rng: Random, kind: str) -> tuple[Target, Naming]:
    """What is kept of an image."""
    draw = rng.random()
    if draw < 0.15:
        target, slots, bare = combined("union", lexicon, rng)
        return target, Naming(str(slots["LIST"]), str(bare["LIST"]), "", "")
    if draw < 0.27:
        targets, naming = largest_of(lexicon, rng) if rng.random() < 0.5 else half_of(lexicon, rng)
        if len(targets) == 1:
            return targets[0], naming
    whole = ("brain", "brain", "cerebrum", "cerebellum", "brainstem") if kind == "isolate" else ("cerebellum", "brain")
    piece = some_piece(rng, whole if rng.random() < 0.35 else (*ANATOMY, *PATHOLOGY))
    return piece.targets()[0], spoken(piece, lexicon, rng)


REGION_DRAWS: dict[Callable[[Lexicon, Random], tuple[Clause, str]], int] = {
    draw_region_measure: 40,
    draw_region_short: 12,
    draw_region_show: 18,
    draw_region_change: 7,
    draw_region_ratio: 7,
    draw_region_asymmetry: 3,
    draw_region_distance: 2,
    draw_cutout: 18,
}
"""How often each kind of request about regions and cutouts is drawn."""
