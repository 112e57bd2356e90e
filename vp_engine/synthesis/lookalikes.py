"""What is mistaken for lesions and is none: perivascular spaces, and bright rims around the ventricles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vp_engine.synthesis.label_maps import BRIGHT_RIM, PERIVASCULAR_SPACE, replace_white_matter, voxels_of
from vp_engine.synthesis.ranges import SynthesisRanges

_VENTRICLES = (4, 43, 136, 163)


@dataclass(frozen=True, slots=True)
class Lookalikes:
    """Normal white matter that looks odd.

    Attributes
    ----------
    spaces : float
        Share of the white matter at which a perivascular space of three voxels has its middle.
    rim_mm : int
        Thickness of the bright rim around the lateral ventricles; 0 for none.
    seed : int
        Of where they are.
    """

    spaces: float
    rim_mm: int
    seed: int


def draw_lookalikes(rng: np.random.Generator, ranges: SynthesisRanges) -> Lookalikes:
    """Draw how many perivascular spaces there are and how thick the rim is."""
    spaces = float(np.exp(rng.uniform(np.log(2e-4), np.log(4e-3)))) if rng.random() < ranges.lookalikes else 0.0
    return Lookalikes(
        spaces, int(rng.integers(1, 3)) if rng.random() < ranges.lookalikes else 0, int(rng.integers(2**31))
    )


def apply_lookalikes(lookalikes: Lookalikes, labels_XYZ: Tensor) -> Tensor:
    """Labels in which some of the cerebral white matter has another look; to the network it stays white matter."""
    if not lookalikes.rim_mm and not lookalikes.spaces:
        return labels_XYZ
    device = labels_XYZ.device
    changed = labels_XYZ.clone()
    source = torch.Generator(device).manual_seed(lookalikes.seed)
    if lookalikes.rim_mm:
        near = voxels_of(labels_XYZ, _VENTRICLES)
        for axis in range(3):
            near = _spread(near, axis, lookalikes.rim_mm)
        replace_white_matter(changed, near, BRIGHT_RIM)
    if lookalikes.spaces:
        spots = torch.rand(labels_XYZ.shape, generator=source, device=device) < lookalikes.spaces
        upright = bool(torch.randint(2, (), generator=source, device=device))
        replace_white_matter(changed, _spread(spots, 2 if upright else 0, 1), PERIVASCULAR_SPACE)
    return changed


def _spread(mask_XYZ: Tensor, axis: int, steps: int) -> Tensor:
    """A mask and its neighbours up to some voxels away along an axis."""
    window = [2 * steps + 1 if a == axis else 1 for a in range(3)]
    padding = [steps if a == axis else 0 for a in range(3)]
    return F.max_pool3d(mask_XYZ[None, None].float(), window, stride=1, padding=padding)[0, 0] > 0
