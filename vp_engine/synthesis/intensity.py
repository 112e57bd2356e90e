"""Random contrast: one Gaussian per tissue, drawn freely or around what a sequence looks like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vp_engine.synthesis.label_maps import LESION_TISSUES, tissue_of_label

_DEEP = ("thalamus", "caudate", "putamen", "pallidum", "hippocampus", "amygdala", "accumbens", "ventral_dc")
WHITE = ("cerebral_white_matter", "cerebellum_white_matter", "brainstem", "cord", "optic")
FLUID = ("lateral_ventricle", "inferior_lateral_ventricle", "third_ventricle", "fourth_ventricle", "csf", "fluid")
_FATTY = ("skin", "marrow", "soft_tissue")
GRAY = ("cerebral_cortex", "cerebellum_cortex")


def _contrast(fluid: float, gray: float, white: float, deep: tuple[float, ...], **others: float) -> dict[str, float]:
    means = dict.fromkeys(FLUID, fluid) | dict.fromkeys(GRAY, gray) | dict.fromkeys(WHITE, white)
    return means | dict(zip(_DEEP, deep, strict=True)) | others


CONTRASTS: Mapping[str, Mapping[str, float]] = {
    "T1w": _contrast(
        0.15, 0.48, 0.80, (0.64, 0.54, 0.57, 0.70, 0.50, 0.49, 0.53, 0.69),
        brainstem=0.74, lesion=0.58, choroid=0.35, vessel=0.40, artery=0.45, bone=0.10, marrow=0.65, skin=0.70,
        soft_tissue=0.50, muscle=0.42, mucosa=0.50, eye=0.18, sinus=0.30,
        necrosis=0.30, enhancing=0.54, edema=0.62, glioma=0.46, stroke_cavity=0.18, gliosis=0.52, blood=0.70,
        blood_rim=0.70, surgical_cavity=0.18, perivascular_space=0.45, bright_rim=0.70,
    ),
    "T2w": _contrast(
        0.95, 0.58, 0.40, (0.48, 0.52, 0.48, 0.32, 0.60, 0.60, 0.54, 0.40),
        brainstem=0.42, lesion=0.80, choroid=0.80, vessel=0.60, artery=0.15, bone=0.08, marrow=0.45, skin=0.45,
        soft_tissue=0.40, muscle=0.25, mucosa=0.80, eye=0.95, sinus=0.20,
        necrosis=0.85, enhancing=0.62, edema=0.80, glioma=0.74, stroke_cavity=0.94, gliosis=0.74, blood=0.45,
        blood_rim=0.45, surgical_cavity=0.94, perivascular_space=0.75, bright_rim=0.52,
    ),
    "FLAIR": _contrast(
        0.12, 0.62, 0.48, (0.54, 0.60, 0.56, 0.44, 0.66, 0.66, 0.60, 0.50),
        brainstem=0.50, lesion=0.92, choroid=0.45, vessel=0.35, artery=0.20, bone=0.06, marrow=0.40, skin=0.55,
        soft_tissue=0.42, muscle=0.32, mucosa=0.70, eye=0.15, sinus=0.25,
        necrosis=0.45, enhancing=0.70, edema=0.86, glioma=0.78, stroke_cavity=0.16, gliosis=0.82, blood=0.50,
        blood_rim=0.50, surgical_cavity=0.20, perivascular_space=0.30, bright_rim=0.62,
    ),
    "PDw": _contrast(
        0.70, 0.82, 0.66, (0.74, 0.80, 0.76, 0.62, 0.82, 0.82, 0.80, 0.68),
        brainstem=0.68, lesion=0.92, choroid=0.80, vessel=0.60, artery=0.20, bone=0.10, marrow=0.60, skin=0.60,
        soft_tissue=0.60, muscle=0.50, mucosa=0.75, eye=0.70, sinus=0.25,
        necrosis=0.84, enhancing=0.82, edema=0.90, glioma=0.86, stroke_cavity=0.72, gliosis=0.88, blood=0.55,
        blood_rim=0.55, surgical_cavity=0.72, perivascular_space=0.72, bright_rim=0.76,
    ),
}  # fmt: skip
"""Typical intensity of each tissue by sequence, background 0, brightest about 1; drawn around, never used as is."""

_SEQUENCES = ("T1w", "T2w", "FLAIR", "PDw")
_SEQUENCE_SHARE = (0.5, 0.15, 0.3, 0.05)

_CONTRAST_AGENT = 0.3
_ENHANCED: Mapping[str, tuple[float, float]] = {
    "enhancing": (0.85, 1.1), "choroid": (0.6, 0.95), "vessel": (0.6, 1.0), "artery": (0.6, 1.0),
    "sinus": (0.7, 1.0), "mucosa": (0.6, 0.9),
}  # fmt: skip
"""Where a contrast agent brightens T1w: tumour without barrier, vessels, plexus."""

_LESIONS = tuple(sorted({*LESION_TISSUES.values()} - {"perivascular_space", "bright_rim"}))
_VARIED = 0.05
_PATCH_MM = 5


@dataclass(frozen=True, slots=True)
class Intensity:
    """What each label looks like; each (1024,), float32.

    Attributes
    ----------
    mean, std : numpy.ndarray
        Of single voxels.
    patchiness : numpy.ndarray
        Standard deviation of a smooth variation within it, of lesions alone.
    """

    mean: np.ndarray
    std: np.ndarray
    patchiness: np.ndarray


def draw_intensity(
    rng: np.random.Generator,
    *,
    prior_contrast: float,
    sequence: str | None = None,
    contrast_agent: bool | None = None,
) -> Intensity:
    """Draw a contrast: near a known sequence with the given probability, else any.

    Left and right of a tissue share one draw. Lesions are never as bright as white matter. With `sequence`, one of
    `CONTRASTS`, it is that one. T1w is drawn as after contrast agent where that is asked for, else sometimes.

    References
    ----------
    Billot et al. 2023, section 2.2: a Gaussian mixture with means and deviations from uniform distributions.
    """
    names = sorted(set(tissue_of_label().values()) - {"background"})
    if rng.random() < prior_contrast:
        sequence = sequence or _SEQUENCES[rng.choice(4, p=_SEQUENCE_SHARE)]
        means = CONTRASTS[sequence]
        spread = rng.uniform(0.01, 0.07)
        drawn = {name: means[name] + spread * float(rng.standard_normal()) for name in names}
        drawn |= {name: drawn[name] + _VARIED * float(rng.standard_normal()) for name in _LESIONS}
        # Blood looks like anything with its age, and fluid with protein in it is not dark on FLAIR.
        drawn |= {name: float(rng.uniform(0.05, 1.0)) for name in ("blood", "blood_rim")}
        if rng.random() < 0.3:
            drawn["necrosis"] = float(rng.uniform(0.2, 0.85))
        if sequence == "T1w" and (rng.random() < _CONTRAST_AGENT if contrast_agent is None else contrast_agent):
            drawn |= {name: float(rng.uniform(*bounds)) for name, bounds in _ENHANCED.items()}
        texture = rng.uniform(0.005, 0.06)
        stds = {name: texture * rng.uniform(0.5, 1.5) for name in names}
    else:
        drawn = {name: float(rng.uniform(0.02, 1.0)) for name in names}
        if rng.random() < 0.5:  # scans rarely tell the fluid of one ventricle from another's
            drawn |= dict.fromkeys(FLUID, drawn["csf"])
        most = rng.uniform(0.01, 0.12)
        stds = {name: rng.uniform(0, most) for name in names}
    white, slight, clear = drawn["cerebral_white_matter"], float(rng.uniform(0.06, 0.15)), float(rng.uniform(0.1, 0.2))
    for name in _LESIONS:
        gap = slight if name == "lesion" else max(clear, 1.5 * stds["cerebral_white_matter"])
        if abs(drawn[name] - white) < gap:
            drawn[name] = white + gap if drawn[name] > white or white < gap else white - gap
    patchiness = float(rng.uniform(0.0, 0.35))
    # The fat of scalp and marrow outshines the brain on many scans, and is suppressed on others.
    fat = float(np.exp(rng.uniform(np.log(0.6), np.log(3.0))))
    drawn |= {name: fat * drawn[name] for name in _FATTY}
    drawn["background"] = float(rng.uniform(0, 0.15)) if rng.random() < 0.3 else 0.0
    return intensity_of(drawn, stds, patchiness=patchiness)


def intensity_of(means: Mapping[str, float], stds: Mapping[str, float], *, patchiness: float = 0.0) -> Intensity:
    """Lay out the values of tissues by label; background has no texture.

    Parameters
    ----------
    means, stds : mapping of str to float
    patchiness : float
        Variation within lesions, as a share of their difference from white matter.
    """
    mean, std, patchy = (np.zeros(1024, np.float32) for _ in range(3))
    for label, tissue in tissue_of_label().items():
        mean[label] = means[tissue]
        std[label] = 0 if tissue == "background" else stds[tissue]
        if tissue in _LESIONS:
            patchy[label] = patchiness * abs(means[tissue] - means["cerebral_white_matter"])
    return Intensity(mean, std, patchy)


def apply_intensity(intensity: Intensity, labels_XYZ: Tensor, *, seed: int) -> Tensor:
    """Mean intensity above air of every voxel of a label map, float32; texture is added on the final grid.

    Lesions vary smoothly inside, over about 5 mm.
    """
    device = labels_XYZ.device
    labels = labels_XYZ.flatten().int()
    above_air = torch.from_numpy(intensity.mean - intensity.mean[0]).to(device)
    image = above_air.index_select(0, labels).view(labels_XYZ.shape)
    lesions = torch.from_numpy(intensity.patchiness).to(device).index_select(0, labels).view(labels_XYZ.shape)
    if not lesions.any():
        return image
    source = torch.Generator(device).manual_seed(seed)
    knots = torch.randn([1, 1, *(-(-n // _PATCH_MM) for n in labels_XYZ.shape)], generator=source, device=device)
    patches = F.interpolate(knots, size=labels_XYZ.shape, mode="trilinear")[0, 0]
    return torch.maximum(image.addcmul(lesions, patches), image.clamp(max=0))  # patches are not darker than air


def apply_texture(intensity: Intensity, image_XYZ: Tensor, labels_XYZ: Tensor, *, seed: int) -> Tensor:
    """Vary an image around the mean of each voxel's label; `image_XYZ` is above air, the result is not negative."""
    device = image_XYZ.device
    std = torch.from_numpy(intensity.std).to(device).index_select(0, labels_XYZ.flatten()).view(labels_XYZ.shape)
    source = torch.Generator(device).manual_seed(seed)
    texture = torch.randn(image_XYZ.shape, generator=source, device=device)
    return torch.addcmul(image_XYZ + float(intensity.mean[0]), std, texture).clamp_(min=0)
