"""The anatomy around lesions, worked out once for an image and kept for the other calls of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vp_engine.anatomy import PATHOLOGICAL_PARTS, SIDES
from vp_engine.environment.grids import same_grid
from vp_engine.environment.registry import Context
from vp_engine.environment.values import Image
from vp_engine.errors import RequestRefused
from vp_engine.measure.arithmetic import UndefinedMeasure
from vp_engine.measure.zones import SURROUNDING_STRUCTURES

if TYPE_CHECKING:
    from vp_engine.measure.places import Surroundings

WhiteMatter = tuple[np.ndarray, np.ndarray]

_WHITE_MATTER = tuple(f"{side}_cerebral_white_matter" for side in SIDES)

LANDMARKS: tuple[str, ...] = (*SURROUNDING_STRUCTURES, *PATHOLOGICAL_PARTS)
"""All that an op on lesions may ask to be delineated on its image, beside the lesions it is given."""


def surroundings_of(context: Context, image: Image, grid: Image) -> tuple[Surroundings, tuple[str, ...]]:
    """Anatomy of an image, on the grid of another image of its session, and flags of getting it there.

    Raises
    ------
    RequestRefused
        If too little anatomy is found to lay it onto the template.
    """
    key = ("surroundings", image.session, image.suffix, grid.suffix)
    if key not in context.kept:
        if same_grid(image, grid):
            context.kept[key] = _surroundings(context, image), ()
        else:
            x, y, z = grid.data.shape
            around, _ = surroundings_of(context, image, image)
            context.kept[key] = around.on((x, y, z), grid.affine), ("mask_resampled",)
    kept: tuple[Surroundings, tuple[str, ...]] = context.kept[key]
    return kept


def white_matter_of(context: Context, image: Image) -> WhiteMatter:
    """Cerebral white matter of the left and the right without any lesion, on the grid of the image.

    Raises
    ------
    RequestRefused
        If the weights do not delineate it.
    """
    key = ("white_matter", image.session, image.suffix)
    if key not in context.kept:
        found = context.world.landmarks(image, (*_WHITE_MATTER, *PATHOLOGICAL_PARTS))
        if missing := [name for name in _WHITE_MATTER if name not in found]:
            raise RequestRefused(
                f"these weights do not delineate {missing[0]}, which a lesion is compared with; "
                "choose others with `model`",
                code="unsupported_structure",
            )
        free = np.ones(image.data.shape, dtype=bool)
        for name in PATHOLOGICAL_PARTS:
            if name in found:
                free &= ~found[name].data
        context.kept[key] = tuple(found[name].data & free for name in _WHITE_MATTER)
    kept: WhiteMatter = context.kept[key]
    return kept


def _surroundings(context: Context, image: Image) -> Surroundings:
    # imported at the first call: scipy takes longer to load than a program to be checked
    from vp_engine.measure.places import surroundings

    found = context.world.landmarks(image, SURROUNDING_STRUCTURES)
    try:
        return surroundings({name: mask.data for name, mask in found.items()}, image.affine)
    except UndefinedMeasure as error:
        raise RequestRefused(
            f"too little anatomy is found on the {image.suffix} image to say where in the brain something lies; "
            "look at the scan, or ask without a place",
            code=error.code,
        ) from error
