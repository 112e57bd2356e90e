"""All that is wrong with a head: what is drawn for it, and the label map changed accordingly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from vp_engine.synthesis.hemorrhage import Hemorrhage, apply_hemorrhage, draw_hemorrhage
from vp_engine.synthesis.lesion_masks import LesionMask
from vp_engine.synthesis.lookalikes import Lookalikes, apply_lookalikes, draw_lookalikes
from vp_engine.synthesis.ranges import SynthesisRanges
from vp_engine.synthesis.resection import Resection, apply_resection, draw_resection
from vp_engine.synthesis.stroke import Stroke, apply_stroke, draw_stroke
from vp_engine.synthesis.tumor import Tumor, apply_tumor, draw_tumor
from vp_engine.synthesis.white_matter_lesions import (
    WhiteMatterLesions,
    apply_white_matter_lesions,
    draw_white_matter_lesions,
)

Focal = Stroke | Tumor | Hemorrhage | Resection


@dataclass(frozen=True, slots=True)
class LesionSources:
    """Lesions of real patients, by what they are."""

    white_matter: Sequence[LesionMask] = ()
    stroke: Sequence[LesionMask] = ()


@dataclass(frozen=True, slots=True)
class Pathology:
    """What a head has: white-matter lesions, focal ones, later over earlier, and what only looks like a lesion."""

    white_matter: WhiteMatterLesions
    focal: tuple[Focal, ...] = ()
    lookalikes: Lookalikes = field(default_factory=lambda: Lookalikes(0.0, False, 0))


def draw_pathology(rng: np.random.Generator, ranges: SynthesisRanges, sources: LesionSources) -> Pathology:
    """Draw what a head has."""
    white_matter = draw_white_matter_lesions(rng, ranges, sources.white_matter)
    drawn = (_draw_focal(rng, ranges, sources) for _ in range(ranges.focal_draws))
    focal = tuple(one for one in drawn if one is not None)
    return Pathology(white_matter, focal, draw_lookalikes(rng, ranges))


def _draw_focal(rng: np.random.Generator, ranges: SynthesisRanges, sources: LesionSources) -> Focal | None:
    draw = rng.random()
    for share, make in (
        (ranges.stroke, lambda: draw_stroke(rng, sources.stroke)),
        (ranges.tumor, lambda: draw_tumor(rng)),
        (ranges.hemorrhage, lambda: draw_hemorrhage(rng)),
        (ranges.resection, lambda: draw_resection(rng)),
    ):
        if draw < share:
            return make()
        draw -= share
    return None


def apply_pathology(pathology: Pathology, labels_XYZ: Tensor, brain_box_vox: np.ndarray) -> Tensor:
    """A label map with all of it; lookalikes in what white matter is left.

    Parameters
    ----------
    pathology : Pathology
    labels_XYZ : torch.Tensor
        Whole map, 1 mm, RAS+.
    brain_box_vox : numpy.ndarray, shape (2, 3)
        Corners of the brain in the map.
    """
    labels_XYZ = apply_white_matter_lesions(pathology.white_matter, labels_XYZ, brain_box_vox)
    for focal in pathology.focal:
        match focal:
            case Stroke():
                labels_XYZ = apply_stroke(focal, labels_XYZ, brain_box_vox)
            case Tumor():
                labels_XYZ = apply_tumor(focal, labels_XYZ)
            case Hemorrhage():
                labels_XYZ = apply_hemorrhage(focal, labels_XYZ)
            case Resection():
                labels_XYZ = apply_resection(focal, labels_XYZ)
    return apply_lookalikes(pathology.lookalikes, labels_XYZ)
