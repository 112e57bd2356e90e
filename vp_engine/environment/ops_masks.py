"""Ops from masks to numbers: size, shape, place, intensity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import ModuleType

import numpy as np

from vp_engine.environment.grids import all_flags, lowest_score, on_grid
from vp_engine.environment.regions import not_found
from vp_engine.environment.values import Image, Mask, Number
from vp_engine.errors import RequestRefused
from vp_engine.measure import voxels
from vp_engine.measure.arithmetic import UndefinedMeasure


def volume(mask: Mask) -> Number:
    """Volume of a mask, in mm3.

    Number of voxels times the volume of one, right for any grid. An empty mask of a lesion or tumour has volume 0,
    and so has an empty region of what was found; of anatomy, which everyone has, the volume is undefined: it was not
    found.
    """
    return number_of(mask, "volume", "mm3", partial(_volume_mm3, mask))


def surface_area(mask: Mask) -> Number:
    """Area of the surface of a mask, in mm2.

    Marching cubes on the lightly smoothed mask, at the level that keeps its volume. Undefined for an empty mask.
    """
    return number_of(mask, "surface_area", "mm2", partial(_shape().surface_area_mm2, mask.data, mask.image.affine))


def sphericity(mask: Mask) -> Number:
    """How close the shape is to a ball, 0 to 1 (unit 1).

    Area of the ball of equal volume divided by the surface area. Undefined for an empty mask.
    """
    return number_of(mask, "sphericity", "1", partial(_shape().sphericity, mask.data, mask.image.affine))


def max_diameter(mask: Mask) -> Number:
    """Longest straight distance between two voxels of a mask, in mm.

    Measured between voxel centres, in three dimensions. Undefined for an empty mask.
    """
    return number_of(mask, "max_diameter", "mm", partial(_shape().max_diameter_mm, mask.data, mask.image.affine))


def mean_thickness(mask: Mask) -> Number:
    """Mean local thickness of a mask, in mm.

    At each voxel the diameter of the largest ball that fits into the structure and contains the voxel,
    averaged over the mask. Undefined for an empty mask.
    """
    return number_of(mask, "mean_thickness", "mm", partial(_shape().mean_thickness_mm, mask.data, mask.image.affine))


def count(mask: Mask) -> Number:
    """Number of separate pieces of a mask, such as lesions (unit 1).

    Connected components; voxels that share a face, an edge or a corner are connected (26 neighbours).
    An empty mask has 0.
    """
    return number_of(mask, "count", "1", partial(_shape().count_components, mask.data))


def centroid_x(mask: Mask) -> Number:
    """World coordinate of the centre of a mask from left to right, in mm; right is positive.

    RAS+ frame of the image file. Undefined for an empty mask; refused when the file does not say which side is left.
    """
    if not mask.image.lateralised:
        raise RequestRefused(
            f"centroid_x needs left and right, and the {mask.image.suffix} file does not say which is which "
            "(no sform and no qform); restore its orientation",
            code="not_lateralised",
        )
    return _centroid(mask, 0)


def centroid_y(mask: Mask) -> Number:
    """World coordinate of the centre of a mask from back to front, in mm; front is positive.

    RAS+ frame of the image file. Undefined for an empty mask.
    """
    return _centroid(mask, 1)


def centroid_z(mask: Mask) -> Number:
    """World coordinate of the centre of a mask from bottom to top, in mm; up is positive.

    RAS+ frame of the image file. Undefined for an empty mask.
    """
    return _centroid(mask, 2)


def mean_intensity(image: Image, mask: Mask) -> Number:
    """Mean intensity of an image inside a mask, in the image's unit (a.u., HU for CT).

    The mask may come from another image of the same session: it is then carried over by world coordinates
    (nearest voxel) and flagged ``mask_resampled``. Undefined for an empty mask.
    """
    return _intensity(image, mask, "mean_intensity", voxels.mean_intensity)


def std_intensity(image: Image, mask: Mask) -> Number:
    """Standard deviation of the intensities of an image inside a mask, in the image's unit.

    Population standard deviation; masks of other images as in `mean_intensity`. Undefined for an empty mask.
    """
    return _intensity(image, mask, "std_intensity", voxels.std_intensity)


def median_intensity(image: Image, mask: Mask) -> Number:
    """Median intensity of an image inside a mask, in the image's unit.

    Masks of other images as in `mean_intensity`. Undefined for an empty mask.
    """
    return _intensity(image, mask, "median_intensity", voxels.median_intensity)


def distance(a: Mask, b: Mask) -> Number:
    """Shortest distance between two masks, in mm; 0 when they touch or overlap.

    Belongs to the first structure. Both must be of the same session. Undefined when one is empty.
    """
    data, moved = on_grid(b, a.image)
    number = number_of(a, "distance", "mm", partial(_shape().distance_mm, a.data, data, a.image.affine))
    flags = all_flags(number.flags, b.flags, b.image.flags, moved)
    return replace(number, qc_score=lowest_score(a, b), flags=flags)


def _centroid(mask: Mask, axis: int) -> Number:
    def coordinate() -> float:
        return float(voxels.centroid_ras_mm(mask.data, mask.image.affine)[axis])

    return number_of(mask, f"centroid_{'xyz'[axis]}", "mm", coordinate)


def _intensity(image: Image, mask: Mask, measure: str, compute: Callable[[np.ndarray, np.ndarray], float]) -> Number:
    data, moved = on_grid(mask, image)
    number = number_of(mask, measure, image.unit, partial(compute, image.data, data))
    return replace(number, image=image.suffix, session=image.session, flags=all_flags(number.flags, image.flags, moved))


def number_of(mask: Mask, measure: str, unit: str, compute: Callable[[], float]) -> Number:
    """Measure of a mask as a number of its structure; undefined, with a flag, where `compute` says so."""
    value: float | None = None
    undefined: tuple[str, ...] = ()
    try:
        value = float(compute())
    except UndefinedMeasure as error:
        undefined = (error.code,)
    return Number(
        value=value,
        unit=unit,
        target=mask.structure,
        measure=measure,
        image=mask.image.suffix,
        session=mask.image.session,
        qc_score=mask.qc_score,
        flags=all_flags(mask.flags, mask.image.flags, undefined),
    )


def _volume_mm3(mask: Mask) -> float:
    if not_found(mask) and not mask.data.any():
        raise UndefinedMeasure(f"{', '.join(not_found(mask))} was not found", code="empty_mask")
    return voxels.volume_mm3(mask.data, mask.image.affine)


def _shape() -> ModuleType:
    # imported at the first call: scipy and scikit-image take longer to load than a program to be checked
    from vp_engine.measure import shape

    return shape


FUNCTIONS = (
    volume,
    surface_area,
    sphericity,
    max_diameter,
    mean_thickness,
    count,
    centroid_x,
    centroid_y,
    centroid_z,
    mean_intensity,
    std_intensity,
    median_intensity,
    distance,
)
