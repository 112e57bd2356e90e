"""Pure functions on affines and grids; no files.

Legend: ``affine`` is (4, 4), voxel index to world, RAS+ mm; ``linear`` its upper left (3, 3), a column per array axis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from vp_engine.volumes.volume import Volume

_POSITIVE_CODES = "RAS"
_NEGATIVE_CODES = "LPI"


@dataclass(frozen=True, slots=True)
class Orientation:
    """How the axes of a file relate to the canonical ones.

    Attributes
    ----------
    axes : tuple of int
        For each canonical axis (R, A, S) the array axis of the file that runs along it.
    flips : tuple of bool
        For each canonical axis whether the file runs along it backwards.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]


def spacing_of(affine: ArrayLike) -> NDArray[np.float64]:
    """Voxel spacing along each array axis.

    Parameters
    ----------
    affine : array_like, shape (4, 4)

    Returns
    -------
    np.ndarray, shape (3,)
        In mm.

    Examples
    --------
    >>> spacing_of(np.diag([-0.5, 0.5, 6, 1])).tolist()
    [0.5, 0.5, 6.0]
    """
    linear = np.asarray(affine, dtype=np.float64)[:3, :3]
    spacing: NDArray[np.float64] = np.sqrt((linear**2).sum(axis=0))
    return spacing


def orientation_of(affine: ArrayLike) -> Orientation:
    """Axis swaps and flips that bring the grid closest to RAS+, also for oblique grids.

    Parameters
    ----------
    affine : array_like, shape (4, 4)
        Its columns must not be zero.

    Returns
    -------
    Orientation
        The assignment of array axes to world axes with the largest sum of squared cosines.
    """
    cosines = np.asarray(affine, dtype=np.float64)[:3, :3] / spacing_of(affine)
    x, y, z = max(permutations(range(3)), key=lambda order: float(sum(cosines[w, a] ** 2 for w, a in enumerate(order))))
    return Orientation((x, y, z), (bool(cosines[0, x] < 0), bool(cosines[1, y] < 0), bool(cosines[2, z] < 0)))


def axcodes_of(affine: ArrayLike) -> tuple[str, str, str]:
    """World direction in which each array axis runs.

    Parameters
    ----------
    affine : array_like, shape (4, 4)

    Returns
    -------
    tuple of str
        Three letters of ``RLAPSI``.

    Examples
    --------
    >>> axcodes_of(np.diag([-1, 1, 1, 1]))
    ('L', 'A', 'S')
    """
    orientation = orientation_of(affine)
    codes = ["", "", ""]
    for world, (axis, flip) in enumerate(zip(orientation.axes, orientation.flips, strict=True)):
        codes[axis] = (_NEGATIVE_CODES if flip else _POSITIVE_CODES)[world]
    return codes[0], codes[1], codes[2]


def voxel_volume_mm3(affine: ArrayLike) -> float:
    """Volume of one voxel in mm³, right for sheared grids too (absolute determinant)."""
    return float(abs(np.linalg.det(np.asarray(affine, dtype=np.float64)[:3, :3])))


def shear_of(affine: ArrayLike) -> float:
    """Largest cosine between two array axes: 0 for a rectangular grid, 1 for parallel axes."""
    linear = np.asarray(affine, dtype=np.float64)[:3, :3]
    directions = linear / spacing_of(affine)
    return float(np.abs(directions.T @ directions - np.eye(3)).max())


def to_canonical(volume: Volume) -> tuple[Volume, Orientation]:
    """Bring a volume to the closest RAS+ grid by swapping and flipping axes only; no value is resampled.

    Parameters
    ----------
    volume : Volume

    Returns
    -------
    Volume
        The same voxels in the same places, axes running to the right, front and top. Without ``forms``.
    Orientation
        What :func:`from_canonical` needs to go back.
    """
    orientation = orientation_of(volume.affine)
    to_file = np.zeros((4, 4))
    to_file[3, 3] = 1
    for world, (axis, flip) in enumerate(zip(orientation.axes, orientation.flips, strict=True)):
        to_file[axis, world] = -1 if flip else 1
        to_file[axis, 3] = volume.shape[axis] - 1 if flip else 0
    data = _flipped(volume.data.transpose(orientation.axes), orientation.flips)
    return replace(volume, data=np.ascontiguousarray(data), affine=volume.affine @ to_file, forms=None), orientation


def from_canonical(array: NDArray[Any], orientation: Orientation) -> NDArray[Any]:
    """Bring an array from the canonical grid back to the axis order of the file; exact inverse of :func:`to_canonical`.

    Parameters
    ----------
    array : np.ndarray, shape (X, Y, Z)
        On the grid that :func:`to_canonical` returned.
    orientation : Orientation

    Returns
    -------
    np.ndarray
        C-contiguous, on the grid of the file.
    """
    data = _flipped(array, orientation.flips).transpose(np.argsort(orientation.axes))
    return np.ascontiguousarray(data)


def _flipped(array: NDArray[Any], flips: tuple[bool, bool, bool]) -> NDArray[Any]:
    return array[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]
