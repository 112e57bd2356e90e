"""Grid and slice profile of the synthetic scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vp_engine.synthesis.ranges import SynthesisRanges


@dataclass(frozen=True, slots=True)
class Resolution:
    """Grid of the scan and thickness of what each voxel averages, in mm; axes of the label map."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    thickness_mm: tuple[float, float, float]


def draw_resolution(rng: np.random.Generator, ranges: SynthesisRanges) -> Resolution:
    """Draw field of view, in-plane spacing and, with some probability, thick slices along one axis.

    Shapes are multiples of 16 where the spacing is the in-plane one, so that four poolings come out even.
    """
    smallest, largest = (np.array(corner) for corner in ranges.field_of_view_mm)
    field_of_view_mm = smallest + rng.random() * (largest - smallest)
    in_plane = rng.uniform(*ranges.spacing_mm)
    spacing = [in_plane] * 3
    if rng.random() < ranges.thick_slices:
        spacing[rng.integers(3)] = rng.uniform(max(in_plane, ranges.thickness_mm[0]), ranges.thickness_mm[1])
    thickness = [s * rng.uniform(0.7, 1.3) for s in spacing]
    x, y, z = (max(1, 16 * round(v / in_plane / 16)) if s == in_plane else max(1, round(v / s))
               for v, s in zip(field_of_view_mm, spacing, strict=True))  # fmt: skip
    return Resolution((x, y, z), (spacing[0], spacing[1], spacing[2]), (thickness[0], thickness[1], thickness[2]))


def apply_thickness(image_1mm_XYZ: Tensor, thickness_mm: tuple[float, float, float]) -> Tensor:
    """Average a 1 mm image over whole-millimetre blocks of about the slice thickness; the grid gets coarser."""
    kernel = [max(1, round(t)) for t in thickness_mm]
    return F.avg_pool3d(image_1mm_XYZ[None, None], kernel, ceil_mode=True, count_include_pad=False)[0, 0]


def sample_image(image_XYZ: Tensor, kernel: tuple[int, int, int], position_vox: Tensor) -> Tensor:
    """Trilinear values of a block-averaged image at positions in voxels of the 1 mm grid; zero outside."""
    size = torch.tensor(image_XYZ.shape, dtype=torch.float32)
    step = torch.tensor(kernel, dtype=torch.float32)
    unit = ((position_vox + 0.5) / step) * 2 / size - 1
    return F.grid_sample(image_XYZ[None, None], unit.flip(-1)[None], align_corners=False)[0, 0]
