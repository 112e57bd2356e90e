"""Cavities that surgery leaves: fluid open to the surface of the brain, its wall sometimes swollen or enhancing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from vp_engine.synthesis.blobs import Blob, apply_blob, draw_blob, middle_of
from vp_engine.synthesis.edema import grow_edema
from vp_engine.synthesis.label_maps import ENHANCING, SURGICAL_CAVITY, of_brain

_SURFACE = (3, 42)


@dataclass(frozen=True, slots=True)
class Resection:
    """One cavity.

    Attributes
    ----------
    blob : Blob
    residual : float
        Thickness of enhancing tumour on the lower half of the wall, in radii; 0 for none.
    edema : float
        How far oedema reaches beyond the wall, in radii.
    """

    blob: Blob
    residual: float
    edema: float


def draw_resection(rng: np.random.Generator) -> Resection:
    """Draw a cavity of 7 to 26 mm radius."""
    return Resection(
        blob=draw_blob(rng, radius_mm=(7.0, 26.0), roughness=0.2),
        residual=float(rng.uniform(0.05, 0.2)) if rng.random() < 0.25 else 0.0,
        edema=float(rng.uniform(0.1, 0.6)) if rng.random() < 0.5 else 0.0,
    )


def apply_resection(resection: Resection, labels_XYZ: Tensor) -> Tensor:
    """Labels with a cavity that begins at the cortex."""
    middle = middle_of(resection.blob, labels_XYZ, _SURFACE)
    if middle is None:
        return labels_XYZ
    opened = labels_XYZ.clone()
    box, distance = apply_blob(resection.blob, middle, opened.shape, reach=1.4 + resection.edema)
    here = opened[box]
    inside = (distance < 1) & of_brain(here)
    grow_edema(here, distance, resection.edema)
    here.masked_fill_(inside, SURGICAL_CAVITY)
    if resection.residual:
        lower = distance.shape[2] // 2  # of the wall: away from the vertex
        wall = inside & (distance > 1 - resection.residual)
        here[:, :, :lower].masked_fill_(wall[:, :, :lower], ENHANCING)
    return opened
