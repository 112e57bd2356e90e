"""A head made of formulas, which can be scanned on any grid, in two contrasts, and moved."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vp_engine.volumes.volume import Volume

Matrix = NDArray[np.float64]

CONTRASTS = {"T1w": (0.0, 60.0, 20.0, 70.0, 110.0), "T2w": (0.0, 40.0, 140.0, 100.0, 70.0)}
"""Intensity of air, scalp, fluid, gray and white matter."""


def motion_of(degrees: float, shift_mm: tuple[float, float, float], axis: tuple[float, float, float]) -> Matrix:
    """Rotation about an axis through the origin, then a shift."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    matrix = np.eye(4)
    matrix[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    matrix[:3, 3] = shift_mm
    return matrix


def grid_of(spacing_mm: tuple[float, float, float], extent_mm: float = 190.0, *, turn: Matrix | None = None) -> Volume:
    """An empty volume around the origin, its axes running to the left, back and top unless turned."""
    shape = tuple(int(extent_mm / mm) for mm in spacing_mm)
    affine = np.diag([-spacing_mm[0], -spacing_mm[1], spacing_mm[2], 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Volume(np.zeros(shape, np.float32), affine if turn is None else turn @ affine)


def head_on(grid: Volume, contrast: str, moved: Matrix | None = None, *, seed: int = 0) -> Volume:
    """A head with folds, nuclei and ventricles, moved by a matrix, on a grid."""
    index = np.indices(grid.shape).reshape(3, -1)
    to_head = np.linalg.inv(np.eye(4) if moved is None else moved) @ grid.affine
    x, y, z = to_head[:3, :3] @ index + to_head[:3, 3:]
    radius = np.sqrt((x / 72) ** 2 + (y / 88) ** 2 + (z / 78) ** 2)
    folds = np.sin(x / 5 + 0.7) * np.sin(y / 6) * np.sin(z / 5 - 0.4)
    tissue = np.zeros(x.size, np.intp)
    tissue[radius < 1] = 1
    tissue[radius < 0.9] = 2
    tissue[radius < 0.85 + 0.06 * folds] = 3
    tissue[radius < 0.72 + 0.1 * folds] = 4
    for cx, cy, cz, size, kind in ((20, 10, 0, 14, 3), (-22, 8, 2, 15, 3), (8, -5, 12, 11, 2), (-9, -4, 10, 9, 2)):
        tissue[(x - cx) ** 2 + ((y - cy) / 1.6) ** 2 + (z - cz) ** 2 < size**2] = kind
    tissue[((x - 5) / 20) ** 2 + ((y + 50) / 18) ** 2 + ((z + 40) / 15) ** 2 < 1] = 3
    noise = np.random.default_rng(seed).normal(0, 3, x.size)
    values = np.abs(np.array(CONTRASTS[contrast])[tissue] + noise).astype(np.float32)
    return Volume(values.reshape(grid.shape), grid.affine)
