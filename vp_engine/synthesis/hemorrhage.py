"""Bleeding into the brain: blood with a rim of another age, oedema around it, and its room."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from vp_engine.synthesis.blobs import Blob, apply_blob, draw_blob, middle_of, push_aside
from vp_engine.synthesis.edema import grow_edema
from vp_engine.synthesis.label_maps import BLOOD, BLOOD_RIM, of_brain

_SITES = (2, 41, 10, 49, 12, 51, 11, 50, 16, 7, 46)
"""White matter of cerebrum and cerebellum, thalamus, putamen, caudate and brainstem."""


@dataclass(frozen=True, slots=True)
class Hemorrhage:
    """One haemorrhage.

    Attributes
    ----------
    blob : Blob
    rim : float
        Thickness of the outer layer of blood, in radii; 0 for none.
    edema : float
        How far oedema reaches, in radii.
    push : float
        Share of its volume that has displaced what was there.
    """

    blob: Blob
    rim: float
    edema: float
    push: float


def draw_hemorrhage(rng: np.random.Generator) -> Hemorrhage:
    """Draw a haemorrhage of 4 to 24 mm radius; small ones push nothing aside."""
    blob = draw_blob(rng, radius_mm=(4.0, 24.0))
    large = blob.radii_mm.mean() > 8
    return Hemorrhage(
        blob=blob,
        rim=float(rng.uniform(0.1, 0.35)) if rng.random() < 0.6 else 0.0,
        edema=float(rng.uniform(0.1, 0.6)) if large and rng.random() < 0.7 else 0.0,
        push=float(rng.uniform(0.4, 0.95)) if large else 0.0,
    )


def apply_hemorrhage(hemorrhage: Hemorrhage, labels_XYZ: Tensor) -> Tensor:
    """Labels with blood in the brain; around it they are pushed aside."""
    blob = hemorrhage.blob
    middle = middle_of(blob, labels_XYZ, _SITES)
    if middle is None:
        return labels_XYZ
    pushed = push_aside(labels_XYZ, blob, middle, amount=hemorrhage.push) if hemorrhage.push else labels_XYZ.clone()
    box, distance = apply_blob(blob, middle, pushed.shape, reach=1.4 + hemorrhage.edema)
    here = pushed[box]
    inside = (distance < 1) & of_brain(here)
    grow_edema(here, distance, hemorrhage.edema)
    here.masked_fill_(inside, BLOOD_RIM)
    here.masked_fill_(inside & (distance < 1 - hemorrhage.rim), BLOOD)
    return pushed
