"""Ops that need the anatomy around a lesion: where it lies, how it looks against white matter, what to say of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from vp_engine.anatomy import STRUCTURES
from vp_engine.environment import describing
from vp_engine.environment.around import surroundings_of, white_matter_of
from vp_engine.environment.grids import all_flags, on_grid, require_same_session, same_grid
from vp_engine.environment.ops_images import require_lateralised
from vp_engine.environment.ops_lesions import chosen, few_pieces
from vp_engine.environment.ops_masks import number_of
from vp_engine.environment.regions import not_found
from vp_engine.environment.registry import Aspect, Context, Place, Signal
from vp_engine.environment.values import Image, Mask, Number, Text
from vp_engine.errors import RequestRefused
from vp_engine.measure.arithmetic import UndefinedMeasure
from vp_engine.measure.voxels import volume_mm3

if TYPE_CHECKING:
    from vp_engine.measure.lesions import Piece
    from vp_engine.measure.places import Location

SIGNAL_UNKNOWN = "signal_unknown"
"""Flag: some pieces could not be compared with white matter and were not taken."""

UNCLEAR = ("unclear", 0.0)
"""What is said when images do not tell."""

_OF_LOCATION = {"side": describing.side, "place": describing.place}


def located(context: Context, image: Image, mask: Mask, place: Place) -> Mask:
    """Take the pieces of a mask that lie in a place, such as the lesions of a lobe: ``x_in_left_parietal_lobe``.

    Whole pieces, as in `pieces`, by most of their volume. ``infratentorial``: nearer to brainstem and cerebellum than
    to the rest; ``deep_gray_matter``: nearer to thalamus, basal ganglia or ventral diencephalon; such pieces are in no
    lobe. Of the others, ``periventricular`` are those within 3 mm of the lateral ventricles, ``juxtacortical`` those
    that touch the cerebral cortex, both of them those that do both, and ``deep_white_matter`` those that do neither.
    Lobes come from a map of the brain to a template: near a border a piece may be taken for the neighbour's. All this
    rests on what is delineated on the image; a mask of another image of the session stays on its own.

    Raises
    ------
    RequestRefused
        If the place has a side and the file does not say which side is left, or too little anatomy is found to tell.
    """
    if place.startswith(("left_", "right_")):
        require_lateralised(image, place)
        require_lateralised(mask.image, place)
    found, flags = _located(context, image, mask)
    kept = [piece for piece, where in found if where.lies_in(place)]
    return chosen(f"{mask.structure}_in_{place}", kept, mask, flags=all_flags(flags, _of_another(image, mask)))


def with_signal(context: Context, image: Image, mask: Mask, signal: Signal) -> Mask:
    """Take the pieces of a mask by how they look on an image: ``x_bright_on_FLAIR``.

    Whole pieces, as in `pieces`, by `relative_intensity`: ``bright`` above 1.1, ``dark`` below 0.9, ``similar``
    between; ``brightest`` and ``darkest`` are one piece. Pieces that cannot be compared with white matter are not
    taken, and the result is flagged ``signal_unknown``.
    """
    found = few_pieces(mask)
    carried, moved = _on_image(found, mask, image)
    known: list[tuple[float, Piece]] = []
    for piece, there in zip(found, carried, strict=True):
        with suppress(UndefinedMeasure):
            if there is not None:
                known.append((_relative_intensity(context, image, there), piece))
    if signal in ("brightest", "darkest"):
        ordered = sorted(known, key=lambda pair: pair[0], reverse=signal == "brightest")
        kept = [piece for _, piece in ordered[:1]]
    else:
        kept = [piece for ratio, piece in known if describing.signal_word(ratio) == signal]
    unknown = (SIGNAL_UNKNOWN,) if len(known) < len(found) else ()
    flags = all_flags(unknown, moved, _of_another(image, mask))
    return chosen(f"{mask.structure}_{signal}_on_{image.suffix}", kept, mask, flags=flags)


def relative_intensity(context: Context, image: Image, mask: Mask) -> Number:
    """Mean intensity in a mask divided by the median of the white matter around it (unit 1); 1: as white matter.

    Cerebral white matter within 10 mm, without any lesion; with less than 200 mm3 of it there, all of the nearer side,
    or of both. White matter is delineated on the image; a mask of another image of the session is carried over as in
    `mean_intensity`. Undefined for an empty mask, and when white matter has no intensity above 0.
    """
    data, moved = on_grid(mask, image)

    def compute() -> float:
        from vp_engine.measure.lesions import as_piece

        return _relative_intensity(context, image, as_piece(data))

    number = number_of(mask, "relative_intensity", "1", compute)
    flags = all_flags(number.flags, image.flags, moved)
    return replace(number, image=image.suffix, session=image.session, flags=flags)


def describe(context: Context, image: Image, mask: Mask, aspect: Aspect) -> Text:
    """Say one thing about what a mask holds, such as a lesion, with a word from a closed list and a confidence.

    ``side``: left, right, both (several pieces on both sides), midline (one piece that crosses it). ``place``: the
    lobe with most of its volume, infratentorial or deep_gray_matter, as in `located`. ``number``: none, one, several,
    many (10 and more), of pieces 3 mm across and more. ``signal``: bright, dark, similar, by `relative_intensity`.
    ``pattern``: solid, ring. ``mass_effect``, ``enhancement``: yes, no. These three are judged from what the vision
    network sees, and so is of a lesion whether the other words can be relied on. An empty mask answers ``none``;
    ``unclear`` says that these images do not tell.

    Returns
    -------
    Text
        The word, with the probability that it is right.
    """
    word, confidence, flags = _described(context, image, mask, aspect)
    return Text(
        word,
        target=mask.structure,
        session=image.session,
        measure=aspect,
        image=image.suffix,
        confidence=confidence,
        flags=all_flags(mask.flags, mask.image.flags, image.flags, flags),
    )


def _of_another(image: Image, mask: Mask) -> tuple[str, ...]:
    """Flags of the image that a choice rests on, where it is not the mask's own."""
    return image.flags if image.suffix != mask.image.suffix else ()


def _described(context: Context, image: Image, mask: Mask, aspect: str) -> tuple[str, float, tuple[str, ...]]:
    require_same_session(mask, image)
    if not mask.data.any():
        return (*UNCLEAR, ("empty_mask",)) if not_found(mask) else (*describing.number([]), ())
    data, moved = on_grid(mask, image)
    here = replace(mask, image=image, data=data)
    if aspect in _READ_OFF:
        word, confidence, flags = _READ_OFF[aspect](context, image, mask, aspect)
        if word != "unclear" and data.any() and _is_pathology(mask):
            word, confidence = _relied_on(context, here, aspect, word, confidence)
        return word, confidence, flags
    if not data.any():
        return (*UNCLEAR, moved)
    word, confidence = context.world.judged(image, here, aspect)
    return (*(UNCLEAR if word == "unclear" else (word, confidence)), moved)


def _is_pathology(mask: Mask) -> bool:
    return all(STRUCTURES[name].kind == "pathology" for name in mask.sources or (mask.structure,))


def _relied_on(context: Context, mask: Mask, aspect: str, word: str, confidence: float) -> tuple[str, float]:
    """What measures say of a lesion: ``unclear`` where that is often wrong; as it is where that was not learnt."""
    judgement, probability = context.world.judged(mask.image, mask, aspect)
    if judgement == "yes":
        return word, probability
    return UNCLEAR if probability else (word, confidence)


def _described_number(context: Context, image: Image, mask: Mask, aspect: str) -> tuple[str, float, tuple[str, ...]]:
    from vp_engine.measure.lesions import pieces

    del context, image, aspect
    found = pieces(mask.data)
    return (*describing.number([volume_mm3(piece.inside, mask.image.affine) for piece in found]), ())


def _described_signal(context: Context, image: Image, mask: Mask, aspect: str) -> tuple[str, float, tuple[str, ...]]:
    del aspect
    ratio = relative_intensity(context, image, mask)
    if ratio.value is None:
        return (*UNCLEAR, ratio.flags)
    return (*describing.signal(ratio.value), ratio.flags)


def _described_place(context: Context, image: Image, mask: Mask, aspect: str) -> tuple[str, float, tuple[str, ...]]:
    if not (image.lateralised and mask.image.lateralised):
        return (*UNCLEAR, ())
    try:
        found, flags = _located(context, image, mask)
    except RequestRefused as refusal:
        return (*UNCLEAR, (refusal.code,))
    return (*_OF_LOCATION[aspect]([where for _, where in found]), flags)


def _located(context: Context, image: Image, mask: Mask) -> tuple[list[tuple[Piece, Location]], tuple[str, ...]]:
    """Pieces of a mask with where they lie by the anatomy of an image, and flags of getting that to them."""
    from vp_engine.measure.places import location

    found = few_pieces(mask)
    require_same_session(mask, image)
    around, flags = surroundings_of(context, image, mask.image)
    return [(piece, location(piece, around)) for piece in found], flags


def _relative_intensity(context: Context, image: Image, piece: Piece) -> float:
    from vp_engine.measure import lesions

    return float(lesions.relative_intensity(image.data, piece, white_matter_of(context, image), image.affine))


def _on_image(found: Sequence[Piece], mask: Mask, image: Image) -> tuple[list[Piece | None], tuple[str, ...]]:
    """Pieces of a mask on the grid of an image; None for one that has no voxel there."""
    require_same_session(mask, image)
    if same_grid(mask.image, image):
        return list(found), ()
    from vp_engine.measure.lesions import as_piece

    carried: list[Piece | None] = []
    for piece in found:
        data, _ = on_grid(replace(mask, data=piece.full(mask.data.shape)), image)
        carried.append(as_piece(data) if data.any() else None)
    return carried, ("mask_resampled",)


_READ_OFF = {
    "side": _described_place,
    "place": _described_place,
    "number": _described_number,
    "signal": _described_signal,
}

FUNCTIONS = (located, with_signal, relative_intensity, describe)
