"""Labels of one image on the grid of another that shows the same head elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vp_engine.volumes.resampling import resample

Shape = tuple[int, int, int]


def carried_labels(labels: NDArray[Any], affine: ArrayLike, shape: Shape, target_affine: ArrayLike) -> NDArray[Any]:
    """Bring labels onto another grid by the nearest voxel, without losing the small ones.

    A label that is at no voxel centre of the target, as it lies between two thick slices, is put into the voxels that
    hold the centres of its own, where no other label is.

    Parameters
    ----------
    labels : np.ndarray, shape (X, Y, Z)
        Integers, 0 outside.
    affine : array_like, shape (4, 4)
        Of `labels`, voxel to the world of the target.
    shape : tuple of int
        Of the target grid.
    target_affine : array_like, shape (4, 4)
        Of the target grid.

    Returns
    -------
    np.ndarray, of `shape`
        What lies outside the target grid is lost.
    """
    carried = resample(labels, affine, shape=shape, target_affine=target_affine, order=0)
    lost = np.setdiff1d(labels, carried)
    voxels_N3 = np.argwhere(np.isin(labels, lost[lost > 0]))
    if voxels_N3.size:
        index_N3 = np.rint(_indices(voxels_N3, affine, target_affine)).astype(int)
        inside = ((index_N3 >= 0) & (index_N3 < shape)).all(axis=1)
        there = tuple(index_N3[inside].T)
        free = carried[there] == 0
        carried[tuple(axis[free] for axis in there)] = labels[tuple(voxels_N3[inside][free].T)]
    return carried


def seen_by(
    mask: NDArray[np.bool_], affine: ArrayLike, shape: Shape, target_affine: ArrayLike
) -> tuple[NDArray[np.bool_], bool]:
    """Keep what of a mask lies within the field of view of another image.

    Parameters
    ----------
    mask : np.ndarray, shape (X, Y, Z)
    affine : array_like, shape (4, 4)
        Of the mask, voxel to the world of the other image.
    shape : tuple of int
        Of the other image.
    target_affine : array_like, shape (4, 4)
        Of the other image.

    Returns
    -------
    kept : np.ndarray, shape (X, Y, Z)
        Bool, on the grid of the mask.
    cut : bool
        Whether something was left out.
    """
    voxels_N3 = np.argwhere(mask)
    index_N3 = _indices(voxels_N3, affine, target_affine)
    inside = ((index_N3 >= -0.5) & (index_N3 <= np.array(shape) - 0.5)).all(axis=1)
    kept = np.zeros(mask.shape, dtype=bool)
    kept[tuple(voxels_N3[inside].T)] = True
    return kept, not bool(inside.all())


def _indices(voxels_N3: NDArray[Any], affine: ArrayLike, target_affine: ArrayLike) -> NDArray[np.float64]:
    """Voxels of one grid in voxels of another, (N, 3)."""
    leading = np.linalg.solve(np.asarray(target_affine, np.float64), np.asarray(affine, np.float64))
    indices: NDArray[np.float64] = voxels_N3 @ leading[:3, :3].T + leading[:3, 3]
    return indices
