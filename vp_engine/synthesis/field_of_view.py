"""Scans that end within the head: the grid stops there, or what lies beyond is filled with zeros."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vp_engine.synthesis.resolution import Resolution


@dataclass(frozen=True, slots=True)
class FieldOfView:
    """Voxels of the grid that were scanned: from `start` to before `stop` along each axis."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]


def draw_field_of_view(rng: np.random.Generator, shape: tuple[int, int, int]) -> FieldOfView:
    """Draw a slab or box: one to three axes lose up to half of their voxels, from either end."""
    cut = rng.random(3) < 0.4
    cut[rng.integers(3)] = True
    start, stop = [0, 0, 0], list(shape)
    for axis in np.flatnonzero(cut):
        lost = round(rng.uniform(0.1, 0.5) * shape[axis])
        start[axis] = round(rng.choice([0.0, 0.5, 1.0]) * lost)
        stop[axis] = max(start[axis] + 1, start[axis] + shape[axis] - lost)
    return FieldOfView((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def apply_field_of_view(field_of_view: FieldOfView, x_XYZ: Tensor) -> Tensor:
    """Values of an image or target inside, zero outside."""
    inside = tuple(slice(a, b) for a, b in zip(field_of_view.start, field_of_view.stop, strict=True))
    kept = torch.zeros_like(x_XYZ)
    kept[inside] = x_XYZ[inside]
    return kept


def draw_shorter(rng: np.random.Generator, resolution: Resolution) -> Resolution:
    """Draw a grid that covers half to nine tenths of another along one axis, at either end or in the middle."""
    axis = int(rng.integers(3))
    n, spacing = resolution.shape[axis], resolution.spacing_mm[axis]
    unit = 16 if n % 16 == 0 else 1
    length = max(1, round(n * rng.uniform(0.5, 0.9) / unit)) * unit
    shift_mm = float(rng.choice([-1, 0, 1])) * (n - length) / 2 * spacing
    shape, centre_mm = list(resolution.shape), list(resolution.centre_mm)
    shape[axis] = length
    centre_mm[axis] += shift_mm
    return replace(
        resolution,
        shape=(shape[0], shape[1], shape[2]),
        centre_mm=(centre_mm[0], centre_mm[1], centre_mm[2]),
    )
