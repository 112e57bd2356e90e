"""White-matter lesions: those of the map removed, those of real patients put in, and new ones grown from noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vp_engine.synthesis.label_maps import LESION, WHITE_MATTER, replace_white_matter, voxels_of
from vp_engine.synthesis.lesion_masks import LesionMask, Placement, apply_placement, draw_placement
from vp_engine.synthesis.ranges import SynthesisRanges

_VENTRICLES = (4, 43, 5, 44, 136, 163, 137, 164)
_CORTEX = (3, 42)
_GROUND_MM = 4
"""Spacing of the finest noise that lesions grow from."""


@dataclass(frozen=True, slots=True)
class Grown:
    """Lesions from noise.

    Attributes
    ----------
    seed : int
        Of the noise.
    share : float
        Of the cerebral white matter that becomes lesion.
    ventricles, cortex : float
        How much more likely they are near the ventricles and near the cortex, in standard deviations of the noise.
    coarseness : float
        0 for many small lesions, 1 for few large ones.
    """

    seed: int
    share: float
    ventricles: float
    cortex: float
    coarseness: float


@dataclass(frozen=True, slots=True)
class WhiteMatterLesions:
    """What happens to the white-matter lesions of a head.

    Attributes
    ----------
    removed : bool
        Lesions of the label map become the white matter around them.
    pasted : Placement or None
    grown : Grown or None
    """

    removed: bool
    pasted: Placement | None = None
    grown: Grown | None = None


def draw_white_matter_lesions(
    rng: np.random.Generator, ranges: SynthesisRanges, masks: Sequence[LesionMask]
) -> WhiteMatterLesions:
    """Draw whether lesions are removed, pasted and grown; none are pasted where there are no masks."""
    removed = bool(rng.random() < ranges.lesion_free)
    pasted = grown = None
    if len(masks) and rng.random() < ranges.pasted_lesions:
        mask = masks[int(rng.integers(len(masks)))]
        pasted = draw_placement(rng, mask, scaling=0.08, shift_mm=3, warp_mm=1.5)
    if rng.random() < ranges.grown_lesions:
        grown = Grown(
            seed=int(rng.integers(2**31)),
            share=float(np.exp(rng.uniform(np.log(0.0005), np.log(0.06)))),
            ventricles=float(rng.uniform(0, 4)),
            cortex=float(rng.uniform(-2, 1.5)),
            coarseness=float(rng.random()),
        )
    return WhiteMatterLesions(removed, pasted, grown)


def apply_white_matter_lesions(lesions: WhiteMatterLesions, labels_XYZ: Tensor, brain_box_vox: np.ndarray) -> Tensor:
    """Labels with lesions removed, pasted and grown; new ones replace cerebral white matter alone, each side its own.

    Parameters
    ----------
    lesions : WhiteMatterLesions
    labels_XYZ : torch.Tensor
        A label map, 1 mm, RAS+.
    brain_box_vox : numpy.ndarray, shape (2, 3)
        Corners of the brain in the map.
    """
    labels_XYZ = labels_XYZ.clone()
    if lesions.removed:
        for lesion, white in zip(LESION, WHITE_MATTER, strict=True):
            labels_XYZ.masked_fill_(labels_XYZ == lesion, white)
    if lesions.pasted is not None:
        placed = apply_placement(lesions.pasted, tuple(labels_XYZ.shape), brain_box_vox)
        if placed is not None:
            box, share = placed
            replace_white_matter(labels_XYZ[box], share > 0.5, LESION)
    if lesions.grown is not None:
        replace_white_matter(labels_XYZ, _grown(lesions.grown, labels_XYZ), LESION)
    return labels_XYZ


def _grown(grown: Grown, labels_XYZ: Tensor) -> Tensor:
    """Where white matter becomes lesion, bool: the highest places of a noise, in the share asked for."""
    device = labels_XYZ.device
    coarse = [-(-n // _GROUND_MM) for n in labels_XYZ.shape]
    source = torch.Generator(device).manual_seed(grown.seed)
    fine = torch.randn([1, 1, *coarse], generator=source, device=device)
    broad = torch.randn([1, 1, *(-(-n // 3) for n in coarse)], generator=source, device=device)
    broad = F.interpolate(broad, size=coarse, mode="trilinear")
    score = torch.lerp(fine, broad / broad.std(), grown.coarseness)
    for strength, tissues in ((grown.ventricles, _VENTRICLES), (grown.cortex, _CORTEX)):
        score = score + strength * _closeness(labels_XYZ, tissues, coarse)
    score = F.interpolate(score, size=labels_XYZ.shape, mode="trilinear")[0, 0]
    white = voxels_of(labels_XYZ, WHITE_MATTER)
    heights = score[white]
    most = int(grown.share * len(heights))
    if not most:
        return torch.zeros_like(white)
    return score > heights.topk(most, sorted=False).values.min()


def _closeness(labels_XYZ: Tensor, tissues: Sequence[int], coarse: Sequence[int]) -> Tensor:
    """About 1 beside a tissue, 0 from about 12 mm on; (1, 1, x, y, z) at the spacing of the noise."""
    x, y, z = coarse
    share = F.adaptive_avg_pool3d(voxels_of(labels_XYZ, tissues)[None, None].float(), (x, y, z))
    near = F.max_pool3d(share, 3, stride=1, padding=1).clamp(max=0.5) * 2
    return F.avg_pool3d(near, 3, stride=1, padding=1)
