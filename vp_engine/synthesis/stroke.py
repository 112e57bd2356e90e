"""Chronic stroke: territories of real patients and lacunes, a cavity of fluid inside and scarred tissue around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from vp_engine.synthesis.blobs import Blob, apply_blob, draw_blob, middle_of
from vp_engine.synthesis.label_maps import GLIOSIS, STROKE_CAVITY, of_brain, voxels_of
from vp_engine.synthesis.lesion_masks import LesionMask, Placement, apply_placement, draw_placement

_LACUNAR = (2, 41, 10, 49, 11, 50, 12, 51, 13, 52, 16)
"""White matter, deep gray matter and brainstem: where small vessels close."""
_VENTRICLES = (4, 43, 5, 44, 14, 15, 72, 136, 163, 137, 164)


@dataclass(frozen=True, slots=True)
class Stroke:
    """One stroke.

    Attributes
    ----------
    territory : Placement or None
        Mask of a real patient; None for a lacune.
    lacune : Blob
        Used where there is no territory.
    cavity : float
        Depth at which fluid begins. Of a territory the depth is the share of a cube of 7 mm that lies inside: about 0.5
        at the border and 1 from 4 mm on, so that 1 leaves no cavity; of a lacune it goes from 0.2 to 1.2 in the middle.
    """

    territory: Placement | None
    lacune: Blob
    cavity: float


def draw_stroke(rng: np.random.Generator, masks: Sequence[LesionMask]) -> Stroke:
    """Draw a territory, four times in five where there are masks, else a lacune; and how much of it is a cavity."""
    territory = None
    if len(masks) and rng.random() < 0.8:
        mask = masks[int(rng.integers(len(masks)))]
        territory = draw_placement(rng, mask, scaling=0.2, shift_mm=6, warp_mm=3)
    lacune = draw_blob(rng, radius_mm=(2.5, 7.0))
    return Stroke(territory, lacune, float(rng.uniform(0.6, 1.0)) if rng.random() < 0.75 else 1.0)


def apply_stroke(stroke: Stroke, labels_XYZ: Tensor, brain_box_vox: np.ndarray) -> Tensor:
    """Labels with the stroke in the brain; ventricles with their plexus, and fluid of sulci, inside it stay.

    Parameters
    ----------
    stroke : Stroke
    labels_XYZ : torch.Tensor
        A label map, 1 mm, RAS+.
    brain_box_vox : numpy.ndarray, shape (2, 3)
        Corners of the brain in the map.
    """
    if stroke.territory is not None:
        placed = apply_placement(stroke.territory, tuple(labels_XYZ.shape), brain_box_vox)
        if placed is None:
            return labels_XYZ
        box, share = placed
        inside = share > 0.5
        depth = F.avg_pool3d(inside[None, None].float(), 7, stride=1, padding=3)[0, 0]
    else:
        middle = middle_of(stroke.lacune, labels_XYZ, _LACUNAR)
        if middle is None:
            return labels_XYZ
        box, distance = apply_blob(stroke.lacune, middle, labels_XYZ.shape)
        inside, depth = distance < 1, 1.2 - distance
    struck = labels_XYZ.clone()
    here = struck[box]
    inside = inside & of_brain(here) & ~voxels_of(here, _VENTRICLES)
    here.masked_fill_(inside, GLIOSIS)
    here.masked_fill_(inside & (depth > stroke.cavity), STROKE_CAVITY)
    return struck
