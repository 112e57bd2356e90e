"""Pooling in the scan's own grid: spacing per level, block means, and the affine that follows.

All pooling keeps the field of view: the outer faces of the first and last voxel stay where they are,
so a grid is fully described by its shape and the extent it inherits. Trilinear up-sampling by
`torch.nn.functional.interpolate(align_corners=False)` is then the exact counterpart.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def pooled_shape(shape: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, int, int]:
    """Shape of the next coarser level of a grid.

    With x the finest spacing, the next level has spacing 2x on every axis that is not already coarser:
    an axis of spacing y is pooled only where y / x <= 2, otherwise it is left alone.

    Examples
    --------
    >>> pooled_shape((64, 64, 20), (1.0, 1.0, 5.0))
    (32, 32, 20)

    References
    ----------
    Hoopes et al. 2024, "Native-space" convolutions.
    """
    target = 2 * min(spacing_mm)
    x, y, z = (max(1, round(n * s / max(s, target) - 1e-6)) for n, s in zip(shape, spacing_mm, strict=True))
    return x, y, z


def pooled_spacing(
    shape: Sequence[int], spacing_mm: Sequence[float], new_shape: Sequence[int]
) -> tuple[float, float, float]:
    """Spacing after pooling `shape` to `new_shape` over the same field of view."""
    x, y, z = (s * n / m for n, s, m in zip(shape, spacing_mm, new_shape, strict=True))
    return x, y, z


def pooled_affine(affine_44: Tensor, shape: Sequence[int], new_shape: Sequence[int]) -> Tensor:
    """Voxel-to-world matrix after pooling `shape` to `new_shape` over the same field of view.

    The centre of the first coarse voxel lies (factor - 1) / 2 fine voxels further in.
    """
    factor = torch.tensor([n / m for n, m in zip(shape, new_shape, strict=True)], dtype=affine_44.dtype)
    step = torch.eye(4, dtype=affine_44.dtype)
    step[:3, :3] = torch.diag(factor)
    step[:3, 3] = (factor - 1) / 2
    return affine_44 @ step.to(affine_44.device)


def block_mean(x_BCXYZ: Tensor, new_shape: Sequence[int]) -> Tensor:
    """Mean over the blocks of a coarser grid, exact also where block faces cut through voxels.

    Parameters
    ----------
    x_BCXYZ : torch.Tensor, shape (B, C, X, Y, Z)
    new_shape : sequence of 3 int
        At most the shape of the input on each axis.
    """
    shape = x_BCXYZ.shape[2:]
    if tuple(shape) == tuple(new_shape):
        return x_BCXYZ
    factors = [n // m if n % m == 0 else 0 for n, m in zip(shape, new_shape, strict=True)]
    if all(factors):
        return F.avg_pool3d(x_BCXYZ, factors)
    for axis, (n, m) in enumerate(zip(shape, new_shape, strict=True), start=2):
        if n != m:
            weight_mn = _overlap(n, m).to(x_BCXYZ)
            x_BCXYZ = torch.movedim(torch.movedim(x_BCXYZ, axis, -1) @ weight_mn.T, -1, axis)
    return x_BCXYZ


def max_pool(x_BCXYZ: Tensor, new_shape: Sequence[int]) -> Tensor:
    """Maximum over 2-blocks; axes whose factor is neither 1 nor 2 are block means instead."""
    shape = x_BCXYZ.shape[2:]
    kernel = [2 if n == 2 * m else 1 for n, m in zip(shape, new_shape, strict=True)]
    return block_mean(F.max_pool3d(x_BCXYZ, kernel), new_shape)


def _overlap(n: int, m: int) -> Tensor:
    """Share of each of `n` voxels in each of `m` equal blocks of the same extent; shape (m, n), rows sum to 1."""
    edges_fine = torch.arange(n + 1, dtype=torch.float64) / n
    edges_coarse = torch.arange(m + 1, dtype=torch.float64) / m
    upper = torch.minimum(edges_coarse[1:, None], edges_fine[None, 1:])
    lower = torch.maximum(edges_coarse[:-1, None], edges_fine[None, :-1])
    return (upper - lower).clamp(min=0) * m
