"""Tumours: a core with or without a rim that takes up contrast agent, oedema along the white matter, and their room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from vp_engine.synthesis.blobs import Blob, apply_blob, draw_blob, middle_of, push_aside
from vp_engine.synthesis.edema import grow_edema
from vp_engine.synthesis.label_maps import ENHANCING, GLIOMA, NECROSIS, of_brain

Pattern = Literal["ring", "solid", "non_enhancing"]

_CEREBRAL = (2, 41, 3, 42)


@dataclass(frozen=True, slots=True)
class Tumor:
    """One tumour.

    Attributes
    ----------
    blob : Blob
    pattern : str
        ``ring``: enhancing around a necrotic core; ``solid``: enhancing throughout; ``non_enhancing``: as of low grade.
    rim : float
        Thickness of the ring, in radii.
    edema : float
        How far oedema reaches beyond the core, in radii; 0 for none.
    push : float
        Share of the core's volume that has displaced what was there.
    """

    blob: Blob
    pattern: Pattern
    rim: float
    edema: float
    push: float


def draw_tumor(rng: np.random.Generator) -> Tumor:
    """Draw a tumour of 7 to 28 mm radius."""
    pattern: Pattern = ("ring", "solid", "non_enhancing")[rng.choice(3, p=(0.5, 0.25, 0.25))]
    return Tumor(
        blob=draw_blob(rng, radius_mm=(7.0, 28.0)),
        pattern=pattern,
        rim=float(rng.uniform(0.12, 0.4)),
        edema=float(rng.uniform(0.2, 1.2)) if rng.random() < 0.8 else 0.0,
        push=float(rng.uniform(0.4, 0.95)) if rng.random() < 0.75 else 0.0,
    )


def apply_tumor(tumor: Tumor, labels_XYZ: Tensor) -> Tensor:
    """Labels with the tumour in the cerebrum; around it they are pushed aside, oedema replaces white matter alone."""
    middle = middle_of(tumor.blob, labels_XYZ, _CEREBRAL)
    if middle is None:
        return labels_XYZ
    pushed = push_aside(labels_XYZ, tumor.blob, middle, amount=tumor.push) if tumor.push else labels_XYZ.clone()
    box, distance = apply_blob(tumor.blob, middle, pushed.shape, reach=1.4 + tumor.edema)
    here = pushed[box]
    core = (distance < 1) & of_brain(here)
    grow_edema(here, distance, tumor.edema)
    match tumor.pattern:
        case "ring":
            here.masked_fill_(core, ENHANCING)
            here.masked_fill_(core & (distance < 1 - tumor.rim), NECROSIS)
        case "solid":
            here.masked_fill_(core, ENHANCING)
        case "non_enhancing":
            here.masked_fill_(core, GLIOMA)
    return pushed
