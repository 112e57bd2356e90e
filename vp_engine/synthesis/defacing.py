"""Heads without a face, as published scans have them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Defacing:
    """All beyond a plane in front of and below the brain is removed.

    Attributes
    ----------
    normal : tuple of 3 float
        Unit vector towards the face, in the axes of the label map (RAS+).
    margin_mm : float
        Distance of the plane from the brain.
    """

    normal: tuple[float, float, float]
    margin_mm: float


def draw_defacing(rng: np.random.Generator) -> Defacing:
    """Draw a plane that looks forwards and 20 to 60 degrees down, turned up to 8 degrees to a side."""
    down, aside = np.deg2rad(rng.uniform(20, 60)), np.deg2rad(rng.uniform(-8, 8))
    x, y, z = np.sin(aside), np.cos(aside) * np.cos(down), -np.cos(aside) * np.sin(down)
    return Defacing((float(x), float(y), float(z)), float(rng.uniform(2, 15)))


def apply_defacing(defacing: Defacing, position_mm_XYZ3: Tensor, brain_mm_N3: Tensor, brain_XYZ: Tensor) -> Tensor:
    """Voxels that stay, bool; the brain always does.

    Parameters
    ----------
    defacing : Defacing
    position_mm_XYZ3 : torch.Tensor
        Position in the head of each voxel of the image.
    brain_mm_N3 : torch.Tensor
        Points all over the brain in the same frame.
    brain_XYZ : torch.Tensor
        Voxels of the image in the brain.

    References
    ----------
    Bischoff-Grethe et al. 2007, *A technique for the deidentification of structural brain MR images*.
    """
    normal = torch.tensor(defacing.normal, dtype=torch.float32, device=position_mm_XYZ3.device)
    edge = (brain_mm_N3 @ normal).max() + defacing.margin_mm
    return (position_mm_XYZ3 @ normal <= edge) | brain_XYZ
