"""Ops that need the anatomy around a lesion: where it lies, how it looks against white matter, what can be said of it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from vp_engine.anatomy import PARTS, STRUCTURES
from vp_engine.environment.grids import all_flags, on_grid
from vp_engine.environment.ops_images import require_lateralised
from vp_engine.environment.ops_lesions import chosen
from vp_engine.environment.ops_masks import number_of
from vp_engine.environment.registry import Aspect, Context, Place, Signal
from vp_engine.environment.values import Image, Mask, Number, Text
from vp_engine.errors import RequestRefused
from vp_engine.measure.arithmetic import UndefinedMeasure

if TYPE_CHECKING:
    from vp_engine.measure.lesions import Piece
    from vp_engine.measure.places import Location, Surroundings

SIMILAR_WITHIN = 0.1
"""Relative difference from white matter up to which a lesion looks `similar`."""
MANY = 10
"""Pieces from which there are `many`."""
LEAST_SHARE = 0.1
"""Share of the volume from which a second side counts."""


def located(context: Context, image: Image, mask: Mask, place: Place) -> Mask:
    """Take the pieces of a mask that lie in a place, such as the lesions of a lobe: ``x_in_left_parietal_lobe``.

    Whole pieces, as in `pieces`, by most of their volume. Lobes come from an affine map of the image onto a template, so
    pieces near a border may be taken for the neighbour's. ``periventricular``: within 3 mm of the lateral ventricles;
    ``juxtacortical``: touching the cerebral cortex; a piece may be both. ``deep_white_matter``: neither.
    ``infratentorial``: mostly nearer to brainstem and cerebellum than to the rest; ``deep_gray_matter``: mostly nearest to
    thalamus, basal ganglia or ventral diencephalon; such pieces are in no lobe. Anatomy is delineated on the image; masks
    of other images of the session stay on theirs.

    Raises
    ------
    RequestRefused
        If the place has a side and the file does not say which side is left, or too little anatomy is found to tell.
    """
    if place.startswith(("left_", "right_")):
        require_lateralised(image, place)
    around, flags = _surroundings(context, image, mask)
    lies_there = partial(_lies_in, around=around, place=place)
    return chosen(f"{mask.structure}_in_{place}", lies_there, mask, flags=flags)


def with_signal(context: Context, image: Image, mask: Mask, signal: Signal) -> Mask:
    """Take the pieces of a mask by how they look on an image: ``x_bright_on_FLAIR``.

    Whole pieces, as in `pieces`, by `relative_intensity`: ``bright`` above 1.1, ``dark`` below 0.9, ``similar`` between;
    ``brightest`` and ``darkest`` are one piece. Pieces of which it is undefined are not taken.
    """
    from vp_engine.measure.lesions import pieces

    shape = mask.data.shape
    looks = []
    for piece in pieces(mask.data):
        one = Mask(mask.image, mask.structure, piece.full(shape), sources=mask.sources)
        looks.append((relative_intensity(context, image, one).value, piece))
    known = [(value, piece) for value, piece in looks if value is not None]
    if signal in ("brightest", "darkest"):
        pick = max if signal == "brightest" else min
        kept = {id(pick(known, key=lambda pair: pair[0])[1])} if known else set()
    else:
        kept = {id(piece) for value, piece in known if _signal(value) == signal}
    data = np.zeros_like(mask.data)
    for _, piece in looks:
        if id(piece) in kept:
            data[piece.where] |= piece.inside
    from vp_engine.environment.regions import region

    flags = ("signal_undefined",) if len(known) < len(looks) else ()
    return region(f"{mask.structure}_{signal}_on_{image.suffix}", data, mask, flags=flags)


def relative_intensity(context: Context, image: Image, mask: Mask) -> Number:
    """Mean intensity in a mask divided by the median of the white matter around it (unit 1).

    Cerebral white matter within 10 mm, without any lesion; with less than 200 mm3 of it there, the whole white matter of
    the nearer side, or of both. 1: as bright as white matter. White matter is delineated on the image. Masks of other
    images of the session are carried over as in `mean_intensity`. Undefined for an empty mask, and when the white matter
    has no intensity above 0.
    """
    data, moved = on_grid(mask, image)
    white, flags = _white_matter(context, image)

    def compute() -> float:
        from vp_engine.measure import lesions

        return float(lesions.relative_intensity(image.data, data, white, image.affine))

    number = number_of(mask, "relative_intensity", "1", compute)
    return Number(
        value=number.value,
        unit="1",
        target=mask.structure,
        measure=number.measure,
        image=image.suffix,
        session=image.session,
        qc_score=mask.qc_score,
        flags=all_flags(number.flags, image.flags, moved, flags),
    )


def describe(context: Context, image: Image, mask: Mask, aspect: Aspect) -> Text:
    """Answer a question about what a mask holds with one word of a closed list, and a confidence.

    ``side``: left, right, both (several pieces), midline (one piece across it). ``place``: the lobe with most of the
    volume, or infratentorial or deep_gray_matter, as in `located`. ``number``: none, one, several, many (10 and more).
    ``signal``: bright, dark or similar by `relative_intensity`. ``pattern``: solid or ring; ``mass_effect`` and
    ``enhancement``: yes or no, judged from what the vision network sees. ``none``: the mask is empty. ``unclear``: these
    images do not tell. To be reported, compared or read.

    Returns
    -------
    Text
        With the probability that the word is right.
    """
    word, confidence, flags = _described(context, image, mask, aspect)
    return Text(
        word,
        target=mask.structure,
        session=image.session,
        measure=aspect,
        image=image.suffix,
        confidence=confidence,
        flags=all_flags(mask.flags, image.flags, flags),
    )


def _described(context: Context, image: Image, mask: Mask, aspect: str) -> tuple[str, float | None, tuple[str, ...]]:
    from vp_engine.measure.lesions import pieces

    found = pieces(mask.data)
    if not found:
        return "none", None, ()
    if aspect == "number":
        word = "one" if len(found) == 1 else "many" if len(found) >= MANY else "several"
        return word, mask.qc_score, ()
    if aspect == "signal":
        number = relative_intensity(context, image, mask)
        return ("unclear", 0.0, number.flags) if number.value is None else (_signal(number.value), mask.qc_score, ())
    if aspect in ("side", "place"):
        if not image.lateralised:
            return "unclear", 0.0, ("not_lateralised",)
        try:
            around, flags = _surroundings(context, image, mask)
        except RequestRefused as refusal:
            return "unclear", 0.0, (refusal.code,)
        from vp_engine.measure.places import location

        places = [location(piece, around) for piece in found]
        word, share = _side_of(places) if aspect == "side" else _place_of(places)
        return word, share, flags
    data, moved = on_grid(mask, image)
    word, confidence = context.world.judged(image, Mask(image, mask.structure, data, sources=mask.sources), aspect)
    return word, confidence, moved


def _side_of(places: list[Location]) -> tuple[str, float]:
    total = sum(place.voxels for place in places)
    right = sum(place.right_share * place.voxels for place in places) / total
    if min(right, 1 - right) < LEAST_SHARE:
        return ("right" if right > 0.5 else "left"), max(right, 1 - right)
    return ("midline" if len(places) == 1 else "both"), 1.0 - LEAST_SHARE


def _place_of(places: list[Location]) -> tuple[str, float]:
    total = sum(place.voxels for place in places)
    volumes: dict[str, float] = {}
    for place in places:
        volumes[place.place] = volumes.get(place.place, 0.0) + place.voxels * place.lobe_share
    word = max(volumes, key=lambda name: volumes[name])
    return word, min(1.0, volumes[word] / total)


def _signal(ratio: float) -> str:
    return "bright" if ratio > 1 + SIMILAR_WITHIN else "dark" if ratio < 1 - SIMILAR_WITHIN else "similar"


def _lies_in(piece: Piece, *, around: Surroundings, place: str) -> bool:
    from vp_engine.measure.places import location

    return location(piece, around).lies_in(place)


def _surroundings(context: Context, image: Image, mask: Mask) -> tuple[Surroundings, tuple[str, ...]]:
    """Anatomy of an image on the grid of a mask, and flags of getting it there; worked out once per step."""
    key = ("surroundings", image.session, image.suffix, mask.image.suffix)
    if key not in context.kept:
        from vp_engine.measure import places

        found = context.world.landmarks(image, places.STRUCTURES)
        grids = {name: on_grid(one, mask.image) for name, one in found.items()}
        flags = all_flags(*(moved for _, moved in grids.values()))
        try:
            around = places.surroundings({name: data for name, (data, _) in grids.items()}, mask.image.affine)
        except UndefinedMeasure as error:
            raise RequestRefused(
                f"too little anatomy is found on the {image.suffix} image to say where in the brain something lies; "
                "look at the scan, or ask without a place",
                code=error.code,
            ) from error
        context.kept[key] = around, flags
    kept: tuple[Surroundings, tuple[str, ...]] = context.kept[key]
    return kept


def _white_matter(context: Context, image: Image) -> tuple[tuple[np.ndarray, np.ndarray], tuple[str, ...]]:
    """White matter of the left and the right without lesions, on the grid of the image; worked out once per step."""
    key = ("white_matter", image.session, image.suffix)
    if key not in context.kept:
        sides = ("left_cerebral_white_matter", "right_cerebral_white_matter")
        lesions = [name for name in PARTS if STRUCTURES[name].kind == "pathology"]
        found = context.world.landmarks(image, (*sides, *lesions))
        for name in sides:
            if name not in found:
                raise RequestRefused(
                    "these weights do not delineate white matter to compare with; choose others with `model`",
                    code="unsupported_structure",
                )
        white = [found[name].data.copy() for name in sides]
        for name in lesions:
            if name in found:
                for one in white:
                    one &= ~found[name].data
        context.kept[key] = tuple(white), ()
    kept: tuple[tuple[np.ndarray, np.ndarray], tuple[str, ...]] = context.kept[key]
    return kept


FUNCTIONS = (located, with_signal, relative_intensity, describe)
