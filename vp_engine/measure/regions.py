"""From masks to masks: growing, shrinking, choosing by distance, cutting; and the box of an image around a mask.

Masks are (X, Y, Z) bool arrays. Affines are (4, 4), voxel to world, RAS+ mm, of any kind: anisotropic, flipped,
oblique, sheared. Lengths are Euclidean distances between voxel centres in world space. Nothing reaches beyond the grid.
"""

from __future__ import annotations

import cc3d
import edt
import numpy as np
from scipy.spatial import cKDTree

from vp_engine.measure.arithmetic import UndefinedMeasure

_ROUNDING_MM = 1e-3
_RIGHT_ANGLES = 1e-3

Box = tuple[slice, slice, slice]


def dilated(mask: np.ndarray, affine: np.ndarray, *, length_mm: float) -> np.ndarray:
    """All voxels within a length of a mask, the mask itself included.

    A length below the distance of two voxels adds nothing.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
    affine : (4, 4) array
    length_mm : float

    Returns
    -------
    (X, Y, Z) bool array
    """
    if not mask.any():
        return mask.copy()
    box = box_around(mask, affine, margin_mm=length_mm)
    grown = mask.copy()
    here = mask[box]
    grown[box] = _within(~here, here, affine, length_mm) | here
    return grown


def eroded(mask: np.ndarray, affine: np.ndarray, *, length_mm: float) -> np.ndarray:
    """The voxels of a mask farther than a length from everything outside it.

    What lies beyond the grid counts as neither inside nor outside, so a mask at its border does not shrink from there.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
    affine : (4, 4) array
    length_mm : float

    Returns
    -------
    (X, Y, Z) bool array
    """
    if not mask.any():
        return mask.copy()
    box = box_around(mask, affine, margin_mm=length_mm)
    shrunk = mask.copy()
    here = mask[box]
    shrunk[box] &= ~_within(here, ~here, affine, length_mm)
    return shrunk


def within(mask: np.ndarray, other: np.ndarray, affine: np.ndarray, *, length_mm: float) -> np.ndarray:
    """The voxels of a mask within a length of another mask; those inside the other are.

    Parameters
    ----------
    mask, other : (X, Y, Z) bool array
        On one grid.
    affine : (4, 4) array
    length_mm : float

    Returns
    -------
    (X, Y, Z) bool array
    """
    near = np.zeros_like(mask)
    if mask.any():
        box = box_around(mask, affine, margin_mm=length_mm)
        near[box] = _within(mask[box], other[box], affine, length_mm)
    return near


def nearer(mask: np.ndarray, to: np.ndarray, than: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The voxels of a mask that are at least as near to one mask as to another; none when the first is empty.

    Parameters
    ----------
    mask, to, than : (X, Y, Z) bool array
        On one grid.
    affine : (4, 4) array

    Returns
    -------
    (X, Y, Z) bool array
    """
    chosen = np.zeros_like(mask)
    if not mask.any() or not to.any():
        return chosen
    if not than.any():
        return mask.copy()
    box = box_around(mask | to | than, affine)
    asked = mask[box]
    near_mm, far_mm = (distances_mm(asked, other[box], affine) for other in (to, than))
    chosen[box][asked] = near_mm <= far_mm + _ROUNDING_MM
    return chosen


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The connected component with most voxels (26 neighbours); of several, the one that comes first in C order.

    Parameters
    ----------
    mask : (X, Y, Z) bool array

    Returns
    -------
    (X, Y, Z) bool array
    """
    largest = np.zeros_like(mask)
    if not mask.any():
        return largest
    box = box_around(mask, np.eye(4))
    labels = numbered(mask[box])
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    most = np.flatnonzero(sizes == sizes.max())
    first = labels.ravel()[np.isin(labels.ravel(), most).argmax()]
    largest[box] = labels == first
    return largest


def numbered(mask: np.ndarray) -> np.ndarray:
    """Number the connected pieces of a mask from 1, in the order of their first voxels in C order (26 neighbours).

    Parameters
    ----------
    mask : (X, Y, Z) bool array

    Returns
    -------
    (X, Y, Z) int32 array
        0 outside.
    """
    # without a margin cc3d expects too few pieces where single voxels lie close, and fails
    labels: np.ndarray = cc3d.connected_components(np.ascontiguousarray(np.pad(mask, 1)), connectivity=26)
    return labels[1:-1, 1:-1, 1:-1].astype(np.int32)


def half(mask: np.ndarray, affine: np.ndarray, *, axis: int, positive: bool) -> np.ndarray:
    """One half of a mask, cut through the middle of its extent along an axis of the world.

    The two halves share no voxel; one whose centre lies on the cut belongs to the positive half.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
    affine : (4, 4) array
    axis : int
        0 left to right, 1 back to front, 2 bottom to top.
    positive : bool
        Whether the right, front or upper half is wanted.

    Returns
    -------
    (X, Y, Z) bool array
    """
    wanted = np.zeros_like(mask)
    if not mask.any():
        return wanted
    box = box_around(mask, affine)
    step = np.asarray(affine, dtype=np.float64)[axis, :3]
    i, j, k = np.ogrid[box]
    along_mm = step[0] * i + step[1] * j + step[2] * k
    here = mask[box]
    middle = (along_mm[here].min() + along_mm[here].max()) / 2
    wanted[box] = here & ((along_mm >= middle - _ROUNDING_MM) == positive)
    return wanted


def cropped_image(image: np.ndarray, mask: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The box of an image that holds a mask.

    Parameters
    ----------
    image : (X, Y, Z) array
    mask : (X, Y, Z) bool array
        On the same grid.
    affine : (4, 4) array

    Returns
    -------
    box : (x, y, z) array
        Its values, copied.
    box_affine : (4, 4) float64 array
        Leads to the same places in the world.

    Raises
    ------
    UndefinedMeasure
        If the mask is empty.
    """
    box = box_around(mask, affine)
    box_affine = np.array(affine, dtype=np.float64)
    box_affine[:3, 3] += box_affine[:3, :3] @ [span.start for span in box]
    return image[box].copy(), box_affine


def box_around(mask: np.ndarray, affine: np.ndarray, *, margin_mm: float = 0.0) -> Box:
    """Box around a mask and everything on the grid within a margin of it."""
    matrix = np.asarray(affine, dtype=np.float64)[:3, :3]
    # steps along one axis of the grid that a length in the world can come to, whatever its direction
    margins = np.ceil(margin_mm * np.linalg.norm(np.linalg.inv(matrix), axis=1)).astype(int)
    spans = []
    for axis, margin in enumerate(margins):
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if used.size == 0:
            raise UndefinedMeasure("the mask is empty", code="empty_mask")
        spans.append(slice(max(0, int(used[0] - margin)), min(mask.shape[axis], int(used[-1] + margin) + 1)))
    return spans[0], spans[1], spans[2]


def _within(asked: np.ndarray, other: np.ndarray, affine: np.ndarray, length_mm: float) -> np.ndarray:
    """Which voxels of `asked` are within a length of a mask."""
    near = np.zeros_like(asked)
    if other.any():
        bound_mm = length_mm + _ROUNDING_MM
        near[asked] = distances_mm(asked, other, affine, bound_mm=bound_mm) <= bound_mm
    return near


def distances_mm(asked: np.ndarray, other: np.ndarray, affine: np.ndarray, *, bound_mm: float = np.inf) -> np.ndarray:
    """Distance from each voxel of `asked`, in C order, to the nearest voxel of a mask that is not empty; (N,) mm.

    What is farther than the bound may be infinite: on a sheared grid it costs several times as much to know.
    """
    matrix = np.asarray(affine, dtype=np.float64)[:3, :3]
    spacing_mm = np.linalg.norm(matrix, axis=0)
    angles = (matrix / spacing_mm).T @ (matrix / spacing_mm) - np.eye(3)
    if np.abs(angles).max() < _RIGHT_ANGLES:
        steps_mm = tuple(float(mm) for mm in spacing_mm)
        field_mm = edt.edt(np.ascontiguousarray(~other), anisotropy=steps_mm, black_border=False, parallel=1)
        distances: np.ndarray = field_mm[asked]
        return distances
    # a distance transform along the axes of a sheared grid would be wrong
    found, _ = cKDTree(np.argwhere(other) @ matrix.T).query(
        np.argwhere(asked) @ matrix.T, distance_upper_bound=bound_mm
    )
    return np.asarray(found)
