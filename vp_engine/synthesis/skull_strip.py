"""Removal of everything outside the brain, as clean or as rough as brain extraction leaves it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class SkullStrip:
    """How the head is stripped.

    Attributes
    ----------
    keep_csf : bool
        Fluid around the brain stays.
    margin_vox : int
        Grown (positive) or shrunken (negative) edge of the brain mask.
    """

    keep_csf: bool
    margin_vox: int


def draw_skull_strip(rng: np.random.Generator) -> SkullStrip:
    """Draw how generous the extraction is; a brain without its fluid is folded and is never shrunken."""
    keep_csf = bool(rng.random() < 0.5)
    return SkullStrip(keep_csf, int(rng.choice([-1, 0, 0, 1] if keep_csf else [0, 1, 1, 2])))


def apply_skull_strip(
    strip: SkullStrip, brain_XYZ: Tensor, csf_XYZ: Tensor, spacing_mm: tuple[float, float, float]
) -> Tensor:
    """Voxels that stay, bool; the edge moves by whole voxels along axes finer than 3 mm."""
    keep = (brain_XYZ | csf_XYZ if strip.keep_csf else brain_XYZ).float()[None, None]
    reach = [abs(strip.margin_vox) if s < 3 else 0 for s in spacing_mm]
    kernel = [2 * r + 1 for r in reach]
    if strip.margin_vox < 0:
        return 1 - F.max_pool3d(1 - keep, kernel, stride=1, padding=reach)[0, 0] > 0
    return F.max_pool3d(keep, kernel, stride=1, padding=reach)[0, 0] > 0
