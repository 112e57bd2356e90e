"""Ops from masks to masks and from images to what is cut out of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import numpy as np

from vp_engine.environment.grids import all_flags, on_grid
from vp_engine.environment.ops_images import require_lateralised
from vp_engine.environment.regions import region
from vp_engine.environment.registry import Context, Direction, Length
from vp_engine.environment.values import Cutout, Features, Image, Mask, Text
from vp_engine.environment.vocabulary import LENGTHS_MM
from vp_engine.errors import RequestRefused

POOR_BELOW = 0.6
"""Confidence of a mask below which `quality` calls it poor."""

_AXES = {"left": 0, "right": 0, "posterior": 1, "anterior": 1, "inferior": 2, "superior": 2}
_POSITIVE = ("right", "anterior", "superior")


def union(a: Mask, b: Mask) -> Mask:
    """Take what is in one mask or the other: ``a_or_b``.

    The result lies on the image of the first. A second mask of another image of the same session is carried over by
    world coordinates (nearest voxel) and flagged ``mask_resampled``; this holds for all ops on several masks.
    """
    return _of_two("or", np.logical_or, a, b)


def intersection(a: Mask, b: Mask) -> Mask:
    """Take what is in both masks: ``a_and_b``.

    May be empty, and then has volume 0. Masks of two images as in `union`.
    """
    return _of_two("and", np.logical_and, a, b)


def difference(a: Mask, b: Mask) -> Mask:
    """Take what is in the first mask and not in the second: ``a_without_b``.

    Masks of two images as in `union`.
    """
    return _of_two("without", lambda x, y: x & ~y, a, b)


def dilate(mask: Mask, length: Length) -> Mask:
    """Grow a mask by a length: ``x_dilated_2mm``.

    Adds every voxel whose centre is within that distance, in the world, of the centre of a voxel inside, right for
    any grid. A length below the distance of two voxels adds nothing.
    """
    grown = _measure().dilated(mask.data, mask.image.affine, length_mm=LENGTHS_MM[length])
    return region(f"{mask.structure}_dilated_{length}", grown, mask)


def erode(mask: Mask, length: Length) -> Mask:
    """Shrink a mask by a length: ``x_eroded_2mm``.

    Takes away every voxel whose centre is within that distance, in the world, of the centre of a voxel outside.
    Thin structures vanish: what is left of them has volume 0. The border of the image does not count as outside.
    """
    shrunk = _measure().eroded(mask.data, mask.image.affine, length_mm=LENGTHS_MM[length])
    return region(f"{mask.structure}_eroded_{length}", shrunk, mask)


def largest(mask: Mask) -> Mask:
    """Take the largest connected piece of a mask, such as the largest lesion: ``x_largest``.

    Voxels that share a face, an edge or a corner are connected (26 neighbours).
    """
    return region(f"{mask.structure}_largest", _measure().largest_component(mask.data), mask)


def near(mask: Mask, other: Mask, length: Length) -> Mask:
    """Take the part of a mask within a length of another, such as lesions near the ventricles: ``x_within_5mm_of_y``.

    Distances are between voxel centres, in the world; what lies inside the other mask is near it. Masks of two images
    as in `union`.
    """
    data, moved = on_grid(other, mask.image)
    chosen = _measure().within(mask.data, data, mask.image.affine, length_mm=LENGTHS_MM[length])
    return region(f"{mask.structure}_within_{length}_of_{other.structure}", chosen, mask, other, flags=moved)


def nearer(mask: Mask, to: Mask, than: Mask) -> Mask:
    """Take the part of a mask nearer to one mask than to another, such as lesions of one hemisphere: ``x_nearer_y``.

    Voxels equally near to both belong to the first, ``to``; all of it is empty when ``to`` is. Masks of two images as
    in `union`.
    """
    grids = [on_grid(other, mask.image) for other in (to, than)]
    (to_data, to_moved), (than_data, than_moved) = grids
    chosen = _measure().nearer(mask.data, to_data, than_data, mask.image.affine)
    flags = all_flags(to_moved, than_moved)
    return region(f"{mask.structure}_nearer_{to.structure}", chosen, mask, to, than, flags=flags)


def part(mask: Mask, direction: Direction) -> Mask:
    """Take one half of a mask: ``left_hippocampus_anterior_part``.

    Cut through the middle of its extent along that axis of the world (RAS+ frame of the image file), so the halves
    need not have one volume.

    Raises
    ------
    RequestRefused
        For ``left`` and ``right``, when the file does not say which side is left.
    """
    axis = _AXES[direction]
    if axis == 0:
        require_lateralised(mask.image, "the left and the right part")
    chosen = _measure().half(mask.data, mask.image.affine, axis=axis, positive=direction in _POSITIVE)
    return region(f"{mask.structure}_{direction}_part", chosen, mask)


def crop(image: Image, mask: Mask) -> Cutout:
    """Cut out the smallest box of an image that holds a mask, to be saved.

    The affine is shifted with it: every voxel stays where it was in the world. Masks of other images of the session
    are carried over as in `union`.

    Raises
    ------
    RequestRefused
        If the mask is empty, or the file does not say where in the world it lies.
    """
    if not image.lateralised:
        raise RequestRefused(
            f"a box of the {image.suffix} image would lose its place: the file has no sform and no qform to shift; "
            "restore its orientation",
            code="not_lateralised",
        )
    data, moved = _to_cut(image, mask)
    box, affine = _measure().cropped_image(image.data, data, image.affine)
    return Cutout(image, mask.structure, box, affine, flags=all_flags(mask.flags, moved))


def isolate(image: Image, mask: Mask) -> Cutout:
    """Set an image to 0 outside a mask, to be saved; the grid stays.

    ``isolate(img, segment(img, "intracranial_volume"))`` strips the skull. Masks of other images of the session are
    carried over as in `union`.

    Raises
    ------
    RequestRefused
        If the mask is empty.
    """
    data, moved = _to_cut(image, mask)
    inside = np.where(data, image.data, image.data.dtype.type(0))
    return Cutout(image, mask.structure, inside, image.affine, isolated=True, flags=all_flags(mask.flags, moved))


def quality(mask: Mask) -> Text:
    """Say whether a mask is ``good`` or ``poor``.

    Poor when its ``qc_score``, the expected Dice with the truth, is below 0.6, or when it is empty. A mask without a
    score is judged by emptiness alone.
    """
    doubtful = mask.qc_score is not None and mask.qc_score < POOR_BELOW
    return Text("poor" if doubtful or not mask.data.any() else "good")


def features(context: Context, image: Image, mask: Mask) -> Features:
    """Pool what the vision network sees of an image inside a mask; only to be read.

    Numbers for the agent, which answers from them what no measure says. Masks of other images of the session are
    carried over as in `union`. All 0 when the mask is empty.
    """
    data, _ = on_grid(mask, image)
    placed = replace(mask, image=image, data=data)
    return Features(context.world.features(image, placed), image.suffix, mask.structure)


def _of_two(word: str, compute: Callable[[np.ndarray, np.ndarray], np.ndarray], a: Mask, b: Mask) -> Mask:
    data, moved = on_grid(b, a.image)
    return region(f"{a.structure}_{word}_{b.structure}", compute(a.data, data), a, b, flags=moved)


def _to_cut(image: Image, mask: Mask) -> tuple[np.ndarray, tuple[str, ...]]:
    data, moved = on_grid(mask, image)
    if not data.any():
        raise RequestRefused(
            f"nothing can be cut out of the {image.suffix} image: {mask.structure} is empty there; "
            "ask for its mask alone, to see why",
            code="empty_mask",
        )
    return data, moved


def _measure() -> ModuleType:
    # imported at the first call: scipy takes longer to load than a program to be checked
    from vp_engine.measure import regions

    return regions


FUNCTIONS = (
    union,
    intersection,
    difference,
    dilate,
    erode,
    largest,
    near,
    nearer,
    part,
    crop,
    isolate,
    quality,
    features,
)
