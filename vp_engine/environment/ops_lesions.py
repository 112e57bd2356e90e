"""Ops on lesions one by one: the pieces of a mask, choosing among them, measuring them."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from vp_engine.environment.grids import on_grid
from vp_engine.environment.ops_masks import number_of
from vp_engine.environment.regions import region
from vp_engine.environment.registry import Length
from vp_engine.environment.values import Mask, Number
from vp_engine.environment.vocabulary import LENGTHS_MM
from vp_engine.errors import RequestRefused

if TYPE_CHECKING:
    from vp_engine.measure.lesions import Piece

MAX_PIECES = 999
"""Most pieces `pieces` takes apart: their numbers have three digits."""


def pieces(mask: Mask) -> list[Mask]:
    """Take a mask apart into its connected pieces, such as one lesion after the other: ``x_001``, ``x_002``, ...

    ``for m in pieces(segment(img, "lesion")):`` runs once per lesion, the largest first; equal ones in the order of
    the grid. Voxels that share a face, an edge or a corner are connected (26 neighbours). An empty mask has no pieces,
    and the loop does not run.

    Returns
    -------
    List[Mask]
        Largest first by volume.

    Raises
    ------
    RequestRefused
        If there are more than 999: noise, not lesions. `at_least` leaves out the small ones.
    """
    shape, found = mask.data.shape, few_pieces(mask)
    return [region(f"{mask.structure}_{n:03d}", piece.full(shape), mask) for n, piece in enumerate(found, start=1)]


def smallest(mask: Mask) -> Mask:
    """Take the smallest connected piece of a mask, such as the smallest lesion: ``x_smallest``.

    Of equal ones the last in the order of the grid. Pieces as in `pieces`. Empty when the mask is.
    """
    return chosen(f"{mask.structure}_smallest", _lesions().pieces(mask.data)[-1:], mask)


def at_least(mask: Mask, length: Length) -> Mask:
    """Take the pieces of a mask that are a length or more across: ``x_at_least_10mm``.

    Whole pieces, as in `pieces`, whose `max_diameter` is at least that.
    """
    lesions, length_mm = _lesions(), LENGTHS_MM[length]
    kept = [p for p in lesions.pieces(mask.data) if lesions.at_least(p, mask.image.affine, length_mm=length_mm)]
    return chosen(f"{mask.structure}_at_least_{length}", kept, mask)


def touching(mask: Mask, other: Mask) -> Mask:
    """Take the pieces of a mask that touch another, such as lesions at the ventricles: ``x_touching_ventricles``.

    Whole pieces, as in `pieces`, that overlap the other mask or have a voxel that shares a face, an edge or a corner
    with one of it. Masks of two images as in `union`.
    """
    data, moved = on_grid(other, mask.image)
    lesions = _lesions()
    kept = [piece for piece in lesions.pieces(mask.data) if lesions.touches(piece, data)]
    return chosen(f"{mask.structure}_touching_{other.structure}", kept, mask, other, flags=moved)


def perpendicular_diameter(mask: Mask) -> Number:
    """Longest diameter of a mask across its longest one in a slice, in mm; the second number of RECIST and RANO.

    Both lie in one slice, the one where the longest diameter is longest: a slice of the file where slices are thicker
    than the pixels are wide (by a quarter at least), else an axial one. `max_diameter` is the longest in three
    dimensions. Measured between voxel centres, to within half a pixel. Undefined for an empty mask.
    """
    compute = partial(_lesions().perpendicular_diameter_mm, mask.data, mask.image.affine)
    return number_of(mask, "perpendicular_diameter", "mm", compute)


def few_pieces(mask: Mask) -> list[Piece]:
    """The pieces of a mask, if they are not too many to be looked at one by one.

    Raises
    ------
    RequestRefused
        If there are more than 999.
    """
    found: list[Piece] = _lesions().pieces(mask.data)
    if len(found) > MAX_PIECES:
        raise RequestRefused(
            f"{mask.structure} falls into {len(found)} pieces, more than the {MAX_PIECES} that are looked at one by "
            "one; ask for those of 3 mm and more, or for all of them together",
            code="too_many_pieces",
        )
    return found


def chosen(name: str, kept: list[Piece], mask: Mask, *others: Mask, flags: tuple[str, ...] = ()) -> Mask:
    """Some of the pieces of a mask as a region made of it and others."""
    data = np.zeros_like(mask.data)
    for piece in kept:
        data[piece.where] |= piece.inside
    return region(name, data, mask, *others, flags=flags)


def _lesions() -> ModuleType:
    # imported at the first call: scipy takes longer to load than a program to be checked
    from vp_engine.measure import lesions

    return lesions


FUNCTIONS = (pieces, smallest, at_least, touching, perpendicular_diameter)
