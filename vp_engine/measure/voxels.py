"""What counting and averaging voxels gives: volume, centre, intensities; and the box around a mask.

Masks are (X, Y, Z) arrays, true or non-zero inside. Affines are (4, 4), voxel to world, RAS+ mm, of any kind:
anisotropic, flipped, oblique, sheared.
"""

from __future__ import annotations

import numpy as np

from vp_engine.measure.arithmetic import UndefinedMeasure


def volume_mm3(mask: np.ndarray, affine: np.ndarray) -> float:
    """Volume of a mask, in mm3: voxels times the determinant of the affine; 0 for an empty mask."""
    return float(np.count_nonzero(mask) * abs(np.linalg.det(np.asarray(affine, dtype=np.float64)[:3, :3])))


def centroid_ras_mm(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Mean position of the voxels of a mask, (3,) world RAS+ mm.

    Raises
    ------
    UndefinedMeasure
        If the mask is empty.
    """
    box, box_affine = cropped(mask, affine)
    counts = [np.count_nonzero(box, axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
    total = counts[0].sum()
    centre = np.array([(np.arange(len(count)) @ count) / total for count in counts])
    position_mm: np.ndarray = box_affine[:3, :3] @ centre + box_affine[:3, 3]
    return position_mm


def mean_intensity(image: np.ndarray, mask: np.ndarray) -> float:
    """Mean of an (X, Y, Z) image inside a mask on the same grid, in the image's unit.

    Raises
    ------
    UndefinedMeasure
        If the mask is empty.
    """
    return float(np.mean(_inside(image, mask)))


def median_intensity(image: np.ndarray, mask: np.ndarray) -> float:
    """Median of an (X, Y, Z) image inside a mask on the same grid, in the image's unit.

    Raises
    ------
    UndefinedMeasure
        If the mask is empty.
    """
    return float(np.median(_inside(image, mask)))


def std_intensity(image: np.ndarray, mask: np.ndarray) -> float:
    """Population standard deviation of an (X, Y, Z) image inside a mask, in the image's unit.

    Raises
    ------
    UndefinedMeasure
        If the mask is empty.
    """
    return float(np.std(_inside(image, mask)))


def cropped(mask: np.ndarray, affine: np.ndarray, *, margin: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Box around a mask, so that expensive work never sees the empty rest.

    Parameters
    ----------
    mask : (X, Y, Z) array
        Non-zero inside.
    affine : (4, 4) array
        Voxel to world, mm.
    margin : int
        Voxels of background added on every side, beyond the border of the image too.

    Returns
    -------
    box : (x, y, z) bool array
        The mask inside the box.
    box_affine : (4, 4) float64 array
        Its affine.

    Raises
    ------
    UndefinedMeasure
        If the mask is empty.
    ValueError
        If the mask does not have three axes.
    """
    if mask.ndim != 3:
        raise ValueError(f"expected a mask with three axes, got shape {mask.shape}")
    inside = mask if mask.dtype == np.bool_ else mask != 0
    spans = []
    for axis in range(3):
        used = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        if used.size == 0:
            raise UndefinedMeasure("the mask is empty", code="empty_mask")
        spans.append((int(used[0]), int(used[-1]) + 1))
    box = inside[tuple(slice(start, stop) for start, stop in spans)]
    box_affine = np.array(affine, dtype=np.float64)
    start = np.array([span[0] for span in spans]) - margin
    box_affine[:3, 3] += box_affine[:3, :3] @ start
    return np.pad(box, margin), box_affine


def _inside(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    if image.shape != mask.shape:
        raise ValueError(f"expected image and mask on one grid, got shapes {image.shape} and {mask.shape}")
    values: np.ndarray = image[mask.astype(bool, copy=False)].astype(np.float64)
    if values.size == 0:
        raise UndefinedMeasure("the mask is empty", code="empty_mask")
    return values
