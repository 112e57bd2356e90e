"""Grid, slice profile and sharpness of the synthetic scan."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vp_engine.synthesis.ranges import SynthesisRanges


@dataclass(frozen=True, slots=True)
class Resolution:
    """Grid of the scan, and over how much of the head each voxel averages.

    Attributes
    ----------
    shape : tuple of 3 int
    spacing_mm : tuple of 3 float
    centre_mm : tuple of 3 float
        World coordinates of the middle of the grid; the axes are those of the world.
    in_plane_mm, slice_mm : float
        What a voxel averages within and across slices; `slice_mm` less than the spacing leaves gaps.
    slice_axis : int
    smoothing : float
        Share of each neighbour along an axis in what the reconstruction makes of a voxel, up to 0.25.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    centre_mm: tuple[float, float, float]
    in_plane_mm: float
    slice_mm: float
    slice_axis: int
    smoothing: float

    @property
    def block_mm(self) -> int:
        """Edge of the cubes that the 1 mm head is averaged over."""
        return max(1, round(self.in_plane_mm))

    @property
    def samples(self) -> int:
        """Odd number of points across the thickness of a slice."""
        return 2 * math.floor(self.slice_mm / self.block_mm / 2) + 1

    def axes_mm(self, *, samples: int = 1) -> list[np.ndarray]:
        """World coordinates of the voxels along each axis, or of `samples` points across each slice."""
        axes = [
            centre + (np.arange(n) - (n - 1) / 2) * spacing
            for n, spacing, centre in zip(self.shape, self.spacing_mm, self.centre_mm, strict=True)
        ]
        within = ((np.arange(samples) + 0.5) / samples - 0.5) * self.slice_mm
        axes[self.slice_axis] = (axes[self.slice_axis][:, None] + within).ravel()
        return axes

    def affine(self) -> Tensor:
        """Voxel → world in mm; (4, 4), float64."""
        matrix = np.diag([*self.spacing_mm, 1.0])
        matrix[:3, 3] = [axis[0] for axis in self.axes_mm()]
        return torch.from_numpy(matrix)


def draw_resolution(
    rng: np.random.Generator, ranges: SynthesisRanges, *, centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> Resolution:
    """Draw field of view and spacing and, with some probability each, thick slices and a low resolution.

    The distance of thick slices differs from their thickness: gaps or overlap. Shapes are multiples of 16 where
    the spacing is the in-plane one, so that four poolings come out even.

    References
    ----------
    Billot et al. 2023, section 2.3: random resolution, slice spacing and thickness drawn apart.
    """
    smallest, largest = (np.array(corner) for corner in ranges.field_of_view_mm)
    field_of_view_mm = smallest + rng.random() * (largest - smallest)
    in_plane = float(rng.uniform(*ranges.spacing_mm))
    slice_axis = int(rng.integers(3))
    sharp_mm = in_plane * float(rng.uniform(0.7, 1.3))
    if rng.random() < ranges.low_resolution:
        sharp_mm = max(sharp_mm, float(rng.uniform(*ranges.low_resolution_mm)))
    spacing = [in_plane] * 3
    shape = [max(1, round(v / in_plane / 16)) * 16 for v in field_of_view_mm]
    slice_mm = sharp_mm
    if rng.random() < ranges.thick_slices:
        slice_mm = float(rng.uniform(*ranges.thickness_mm))
        spacing[slice_axis] = max(in_plane, slice_mm * float(rng.uniform(0.8, 1.3)))
        shape[slice_axis] = max(1, round(field_of_view_mm[slice_axis] / spacing[slice_axis]))
    return Resolution(
        (shape[0], shape[1], shape[2]), (spacing[0], spacing[1], spacing[2]), centre_mm,
        sharp_mm, slice_mm, slice_axis, float(rng.uniform(0, 0.25)),
    )  # fmt: skip


def apply_resolution(resolution: Resolution, fine_XYZ: Tensor, unit_XYZ3: Tensor) -> Tensor:
    """Average a 1 mm image over blocks, sample it across each slice and average again; zero outside the image.

    Parameters
    ----------
    resolution : Resolution
    fine_XYZ : torch.Tensor
        Its size is a multiple of `block_mm` along each axis.
    unit_XYZ3 : torch.Tensor
        Positions of the `samples` points of each voxel, -1 to 1 from face to face of the image, axes reversed.
    """
    coarse = fine_XYZ[None, None]
    if resolution.block_mm > 1:
        coarse = F.avg_pool3d(coarse, resolution.block_mm)
    image = F.grid_sample(coarse, unit_XYZ3[None], align_corners=False)[0, 0]
    axis = resolution.slice_axis
    averaged: Tensor = image.unflatten(axis, (-1, resolution.samples)).mean(axis + 1)
    return averaged


def apply_smoothing(resolution: Resolution, image_XYZ: Tensor) -> Tensor:
    """Mix each voxel with its neighbours, but not across thick slices; the edges mix with themselves."""
    share = resolution.smoothing
    for axis in range(3):
        if axis == resolution.slice_axis and resolution.slice_mm > 1.5 * resolution.in_plane_mm:
            continue
        n = image_XYZ.shape[axis]
        mixed = (1 - 2 * share) * image_XYZ
        mixed.narrow(axis, 1, n - 1).add_(image_XYZ.narrow(axis, 0, n - 1), alpha=share)
        mixed.narrow(axis, 0, n - 1).add_(image_XYZ.narrow(axis, 1, n - 1), alpha=share)
        mixed.narrow(axis, 0, 1).add_(image_XYZ.narrow(axis, 0, 1), alpha=share)
        mixed.narrow(axis, n - 1, 1).add_(image_XYZ.narrow(axis, n - 1, 1), alpha=share)
        image_XYZ = mixed
    return image_XYZ
