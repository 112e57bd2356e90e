"""Regions, which are masks made of masks: their names, what they are made of, and when one is undefined."""

from __future__ import annotations

import numpy as np

from vp_engine.anatomy import SIDES, STRUCTURES
from vp_engine.environment.grids import all_flags, lowest_score
from vp_engine.environment.misuse import Misuse
from vp_engine.environment.values import Mask

MAX_NAME = 120
"""Longest name of a region, in characters: it stands in tables and file names."""

_OTHER_SIDE = {"left": "right", "right": "left"}


def region(name: str, data: np.ndarray, *masks: Mask, flags: tuple[str, ...] = ()) -> Mask:
    """Mask made of masks, on the image of the first: lowest confidence, union of flags.

    Parameters
    ----------
    name : str
        Such as ``left_hippocampus_dilated_2mm``.
    data : (X, Y, Z) bool array
        On the grid of the first mask.
    *masks : Mask
        What it is made of; at least one.
    flags : tuple of str
        Of making it.

    Raises
    ------
    Misuse
        If the name is too long: the region was made in too many steps.
    """
    if len(name) > MAX_NAME:
        raise Misuse(
            "this region is made of too many others to be named",
            code="long_name",
            expected=f"a name of <= {MAX_NAME} characters",
            got=f"{len(name)} characters",
        )
    first = masks[0]
    missing = tuple(dict.fromkeys(name for mask in masks for name in not_found(mask)))
    incomplete = tuple(f"part_not_found:{name}" for name in missing)
    of_images = [mask.image.flags for mask in masks if mask.image.suffix != first.image.suffix]
    return Mask(
        image=first.image,
        structure=name,
        data=data,
        qc_score=lowest_score(*masks),
        flags=all_flags(*(mask.flags for mask in masks), *of_images, flags, incomplete),
        sources=tuple(dict.fromkeys(source for mask in masks for source in mask.sources or (mask.structure,))),
        missing=missing,
    )


def not_found(mask: Mask) -> tuple[str, ...]:
    """Anatomy that a mask needs and that was not found in its image; everyone has it, so its size is not 0."""
    if mask.is_region:
        return mask.missing
    absent = STRUCTURES[mask.structure].kind != "pathology" and not mask.data.any()
    return (mask.structure,) if absent else ()


def twin_name(left: str, right: str) -> str | None:
    """Name of both together when two names differ in their sides alone, the left one first; else None.

    >>> twin_name("left_hippocampus_anterior_part", "right_hippocampus_anterior_part")
    'hippocampus_anterior_part'
    >>> twin_name("lesion_nearer_left_hemisphere", "lesion_nearer_right_hemisphere")
    'lesion_nearer_hemisphere'
    >>> twin_name("left_thalamus_right_part", "right_thalamus_left_part")
    'thalamus_medial_part'
    """
    words = left.split("_")
    sides = [word for word in words if word in SIDES]
    if not sides or sides[0] != "left" or [_OTHER_SIDE.get(word, word) for word in words] != right.split("_"):
        return None
    sided = words[0] == "left"
    both = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if sided and following == "part" and word in SIDES:
            both.append("lateral" if word == "left" else "medial")
        elif word == "right":
            both.append("other")
        elif word != "left":
            both.append(word)
    # the vocabulary has no bilateral "hemisphere": both together are the cerebrum
    return "cerebrum" if both == ["hemisphere"] else "_".join(both)
