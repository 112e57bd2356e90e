"""Synthetic scans of lesions, and the true answers to questions about how they look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vp_engine.anatomy import PARTS, PATHOLOGICAL_PARTS
from vp_engine.synthesis.hemorrhage import Hemorrhage
from vp_engine.synthesis.intensity import Intensity, draw_intensity
from vp_engine.synthesis.label_maps import (
    BLOOD,
    BLOOD_RIM,
    ENHANCING,
    GLIOSIS,
    NECROSIS,
    STROKE_CAVITY,
    LabelMap,
    brain_box,
    brain_points,
)
from vp_engine.synthesis.pathology import Focal, LesionSources, apply_pathology
from vp_engine.synthesis.ranges import SynthesisRanges
from vp_engine.synthesis.scan import draw_head, draw_scan, synthesise
from vp_engine.synthesis.stroke import Stroke
from vp_engine.synthesis.tumor import Tumor
from vp_engine.volumes.volume import Volume

RING_CONTRAST = (0.06, 0.15)
"""Difference of inner and outer tissue, of the intensity range: up to the first solid, from the second a ring."""
MASS_EFFECT_MM = (1.0, 3.0)
"""How far tissue at the border was moved: up to the first no mass effect, from the second there is."""

_SEQUENCES = ("T1w", "T2w", "FLAIR")
_LEAST_MM3 = 150.0
_LEAST_SHARE = 0.1
_BOX_MM = ((150.0, 185.0, 150.0), (170.0, 210.0, 180.0))
_RANGES = SynthesisRanges(
    field_of_view_mm=_BOX_MM,
    spacing_mm=(1.5, 2.4),
    prior_contrast=1.0,
    cropped_field_of_view=0.0,
    ct=0.0,
    streams=(1.0,),
    pasted_lesions=0.1,
    grown_lesions=0.1,
    stroke=0.2,
    tumor=0.55,
    hemorrhage=0.15,
    resection=0.05,
    lesion_free=1.0,
)


@dataclass(frozen=True, slots=True, eq=False)
class LesionCase:
    """One scan with lesions.

    Attributes
    ----------
    scan : Volume
    sequence : str
        BIDS suffix.
    contrast_agent : bool
    truth : numpy.ndarray of int64, shape (X, Y, Z)
        0 for background, 1 + position in `anatomy.PARTS` otherwise.
    answers : mapping of str to str
        Word by question of `vision.description`; those that lie between two words are left out.
    """

    scan: Volume
    sequence: str
    contrast_agent: bool
    truth: NDArray[np.int64]
    answers: Mapping[str, str]

    @property
    def lesion(self) -> NDArray[np.bool_]:
        """Every kind of lesion together."""
        return np.isin(self.truth, [1 + PARTS.index(name) for name in PATHOLOGICAL_PARTS])


def lesion_cases(
    label_maps: Sequence[LabelMap], lesions: LesionSources, *, count: int, seed: int
) -> Iterator[LesionCase]:
    """Draw cases until there are enough; the same ones for the same seed.

    Half of the T1w are taken after contrast agent.
    """
    made = number = 0
    while made < count:
        rng = np.random.default_rng([seed, number])
        number += 1
        head = draw_head(rng, _RANGES, lesions=lesions)
        sequence = _SEQUENCES[rng.choice(3, p=(0.5, 0.2, 0.3))]
        agent = sequence == "T1w" and bool(rng.random() < 0.5)
        intensity = draw_intensity(rng, prior_contrast=1.0, sequence=sequence, contrast_agent=agent)
        scan = replace(draw_scan(rng, _RANGES, centre_mm=head.centre_mm), intensity=intensity)
        label_map = label_maps[int(rng.integers(len(label_maps)))]
        synthetic = synthesise(label_map, head, [scan])
        volume = Volume(synthetic.images[0].numpy(), synthetic.affines[0].numpy())
        box = brain_box(brain_points(label_map.labels))
        ill = apply_pathology(head.pathology, label_map.labels, box).cpu().numpy()
        voxels = np.bincount(ill.ravel(), minlength=1024)
        answers = true_answers(next(iter(head.pathology.focal), None), intensity, voxels, contrast_agent=agent)
        case = LesionCase(volume, sequence, agent, synthetic.targets[0].numpy(), answers)
        voxel_mm3 = float(np.prod(volume.spacing_mm))
        if np.count_nonzero(case.lesion) * voxel_mm3 >= _LEAST_MM3:
            made += 1
            yield case


def true_answers(
    focal: Focal | None, intensity: Intensity, voxels: NDArray[np.int64], *, contrast_agent: bool
) -> dict[str, str]:
    """What is true of a head with one focal lesion, or with none but of white matter.

    Parameters
    ----------
    focal : Stroke, Tumor, Hemorrhage, Resection or None
    intensity : Intensity
    voxels : numpy.ndarray, shape (1024,)
        Number of voxels of each label in the head.
    contrast_agent : bool
    """
    answers: dict[str, str] = {}
    ring = _ring_contrast(focal, intensity, voxels)
    if ring is not None:
        answers |= _between(ring, RING_CONTRAST, "solid", "ring", "pattern")
    answers |= _between(_moved_mm(focal), MASS_EFFECT_MM, "no", "yes", "mass_effect")
    enhancing = isinstance(focal, Tumor) and focal.pattern != "non_enhancing"
    answers["enhancement"] = "yes" if contrast_agent and enhancing else "no"
    return answers


def _between(value: float, bounds: tuple[float, float], low: str, high: str, question: str) -> dict[str, str]:
    """The answer where there is one: a value between the bounds has none."""
    if bounds[0] < value < bounds[1]:
        return {}
    return {question: low if value <= bounds[0] else high}


def _ring_contrast(focal: Focal | None, intensity: Intensity, voxels: NDArray[np.int64]) -> float | None:
    """Difference between the inner and the outer tissue of a lesion; None where one of them is a trace only."""
    match focal:
        case Tumor(pattern="ring"):
            inner, outer = NECROSIS, ENHANCING
        case Stroke(cavity=cavity) if cavity < 1:
            inner, outer = STROKE_CAVITY, GLIOSIS
        case Hemorrhage(rim=rim) if rim > 0:
            inner, outer = BLOOD, BLOOD_RIM
        case _:
            return 0.0
    share = float(voxels[inner]) / max(1, int(voxels[inner] + voxels[outer]))
    if share in (0.0, 1.0):
        return 0.0
    if min(share, 1 - share) < _LEAST_SHARE:
        return None
    return abs(float(intensity.mean[inner]) - float(intensity.mean[outer]))


def _moved_mm(focal: Focal | None) -> float:
    """How far tissue at the border of a lesion came from where it was."""
    if not isinstance(focal, (Tumor, Hemorrhage)):
        return 0.0
    share: float = 1 - (1 - focal.push) ** (1 / 3)
    return float(focal.blob.radii_mm.mean()) * share
