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
    rim : bool
        Whether there is a bright rim of one voxel around the lateral ventricles: a thicker one is a lesion.
    seed : int
        Of where they are.
    """

    spaces: float
    rim: bool
    seed: int


def draw_lookalikes(rng: np.random.Generator, ranges: SynthesisRanges) -> Lookalikes:
    """Draw how many perivascular spaces there are and whether there is a rim."""
    spaces = float(np.exp(rng.uniform(np.log(1e-4), np.log(1.5e-3)))) if rng.random() < ranges.lookalikes else 0.0
    return Lookalikes(spaces, bool(rng.random() < ranges.lookalikes), int(rng.integers(2**31)))


def apply_lookalikes(lookalikes: Lookalikes, labels_XYZ: Tensor) -> Tensor:
    """Labels in which some of the cerebral white matter has another look; to the network it stays white matter."""
    if not lookalikes.rim and not lookalikes.spaces:
        return labels_XYZ
    device = labels_XYZ.device
    changed = labels_XYZ.clone()
    source = torch.Generator(device).manual_seed(lookalikes.seed)
    if lookalikes.rim:
        near = voxels_of(labels_XYZ, _VENTRICLES)
        for axis in range(3):
            near = _spread(near, axis)
        replace_white_matter(changed, near, BRIGHT_RIM)
    if lookalikes.spaces:
        spots = torch.rand(labels_XYZ.shape, generator=source, device=device) < lookalikes.spaces
        upright = bool(torch.randint(2, (), generator=source, device=device))
        replace_white_matter(changed, _spread(spots, 2 if upright else 0), PERIVASCULAR_SPACE)
    return changed


def _spread(mask_XYZ: Tensor, axis: int) -> Tensor:
    """A mask and its neighbours along an axis."""
    window = [3 if a == axis else 1 for a in range(3)]
    padding = [1 if a == axis else 0 for a in range(3)]
    return F.max_pool3d(mask_XYZ[None, None].float(), window, stride=1, padding=padding)[0, 0] > 0
