"""Values of an image on another grid."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

_EDGE = 0.5 + 1e-6
"""A voxel reaches half a voxel beyond its centre; the rest forgives rounding of affines."""


def resample(
    data: NDArray[Any],
    affine: ArrayLike,
    *,
    shape: tuple[int, int, int],
    target_affine: ArrayLike,
    order: int,
) -> NDArray[Any]:
    """Sample an image at the voxel centres of another grid.

    Nothing is smoothed first: average blocks before going to a much coarser grid. Points outside the voxels of
    the source become 0.

    Parameters
    ----------
    data : np.ndarray, shape (X, Y, Z)
    affine : array_like, shape (4, 4)
        Of `data`, voxel index to world.
    shape : tuple of int
        Of the target grid.
    target_affine : array_like, shape (4, 4)
        Of the target grid.
    order : int
        0: nearest neighbour, keeps the dtype, for labels. 1: trilinear, returns float32.

    Returns
    -------
    np.ndarray, of `shape`

    Raises
    ------
    ValueError
        If `order` is neither 0 nor 1.
    """
    if order not in (0, 1):
        raise ValueError(f"order must be 0 (nearest) or 1 (trilinear), got {order}")
    target_to_source = np.linalg.solve(np.asarray(affine, np.float64), np.asarray(target_affine, np.float64))
    sampled = ndimage.affine_transform(
        data,
        target_to_source[:3, :3],
        offset=target_to_source[:3, 3],
        output_shape=shape,
        output=data.dtype if order == 0 else np.float32,
        order=order,
        mode="nearest",
        prefilter=False,
    )
    sampled[~_inside(target_to_source, shape, data.shape)] = 0
    result: NDArray[Any] = sampled
    return result


def _inside(
    target_to_source: NDArray[np.float64], shape: tuple[int, int, int], source_shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Which target voxels have their centre in a voxel of the source."""
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    inside = np.ones(shape, dtype=bool)
    for axis, size in enumerate(source_shape):
        a, b, c, offset = target_to_source[axis]
        index = a * i + b * j + (c * k + offset)
        inside &= (index >= -_EDGE) & (index <= size - 1 + _EDGE)
    return inside
