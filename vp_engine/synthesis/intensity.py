"""Random contrast: one Gaussian per tissue, drawn freely or around what a sequence looks like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vp_engine.synthesis.label_maps import tissue_of_label

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
    ),
    "T2w": _contrast(
        0.95, 0.58, 0.40, (0.48, 0.52, 0.48, 0.32, 0.60, 0.60, 0.54, 0.40),
        brainstem=0.42, lesion=0.80, choroid=0.80, vessel=0.60, artery=0.15, bone=0.08, marrow=0.45, skin=0.45,
        soft_tissue=0.40, muscle=0.25, mucosa=0.80, eye=0.95, sinus=0.20,
    ),
    "FLAIR": _contrast(
        0.12, 0.62, 0.48, (0.54, 0.60, 0.56, 0.44, 0.66, 0.66, 0.60, 0.50),
        brainstem=0.50, lesion=0.92, choroid=0.45, vessel=0.35, artery=0.20, bone=0.06, marrow=0.40, skin=0.55,
        soft_tissue=0.42, muscle=0.32, mucosa=0.70, eye=0.15, sinus=0.25,
    ),
    "PDw": _contrast(
        0.70, 0.82, 0.66, (0.74, 0.80, 0.76, 0.62, 0.82, 0.82, 0.80, 0.68),
        brainstem=0.68, lesion=0.92, choroid=0.80, vessel=0.60, artery=0.20, bone=0.10, marrow=0.60, skin=0.60,
        soft_tissue=0.60, muscle=0.50, mucosa=0.75, eye=0.70, sinus=0.25,
    ),
}  # fmt: skip
"""Typical intensity of each tissue by sequence, background 0, brightest about 1; drawn around, never used as is."""

_SEQUENCES = ("T1w", "T2w", "FLAIR", "PDw")
_SEQUENCE_SHARE = (0.65, 0.12, 0.18, 0.05)


@dataclass(frozen=True, slots=True)
class Intensity:
    """Mean and standard deviation of the intensity of each label; both (1024,), float32."""

    mean: np.ndarray
    std: np.ndarray


def draw_intensity(rng: np.random.Generator, *, prior_contrast: float, sequence: str | None = None) -> Intensity:
    """Draw a contrast: near a known sequence with the given probability, else any.

    Left and right of a tissue share one draw. White-matter lesions are never as bright as white matter. With
    `sequence`, one of `CONTRASTS`, it is that one.

    References
    ----------
    Billot et al. 2023, section 2.2: a Gaussian mixture with means and deviations from uniform distributions.
    """
    names = sorted(set(tissue_of_label().values()) - {"background"})
    if rng.random() < prior_contrast:
        means = CONTRASTS[sequence or _SEQUENCES[rng.choice(4, p=_SEQUENCE_SHARE)]]
        spread = rng.uniform(0.01, 0.07)
        drawn = {name: means[name] + spread * float(rng.standard_normal()) for name in names}
        texture = rng.uniform(0.005, 0.06)
        stds = {name: texture * rng.uniform(0.5, 1.5) for name in names}
    else:
        drawn = {name: float(rng.uniform(0.02, 1.0)) for name in names}
        if rng.random() < 0.5:  # scans rarely tell the fluid of one ventricle from another's
            drawn |= dict.fromkeys(FLUID, drawn["csf"])
        most = rng.uniform(0.01, 0.12)
        stds = {name: rng.uniform(0, most) for name in names}
    white, gap = drawn["cerebral_white_matter"], float(rng.uniform(0.06, 0.15))
    if abs(drawn["lesion"] - white) < gap:
        drawn["lesion"] = white + gap if drawn["lesion"] > white or white < gap else white - gap
    # The fat of scalp and marrow outshines the brain on many scans, and is suppressed on others.
    fat = float(np.exp(rng.uniform(np.log(0.6), np.log(3.0))))
    drawn |= {name: fat * drawn[name] for name in _FATTY}
    drawn["background"] = float(rng.uniform(0, 0.15)) if rng.random() < 0.3 else 0.0
    return intensity_of(drawn, stds)


def intensity_of(means: Mapping[str, float], stds: Mapping[str, float]) -> Intensity:
    """Lay out the values of tissues by label; background has no texture."""
    mean, std = np.zeros(1024, np.float32), np.zeros(1024, np.float32)
    for label, tissue in tissue_of_label().items():
        mean[label] = means[tissue]
        std[label] = 0 if tissue == "background" else stds[tissue]
    return Intensity(mean, std)


def apply_intensity(intensity: Intensity, labels_XYZ: Tensor) -> Tensor:
    """Mean intensity above air of every voxel of a label map, float32; texture is added on the final grid."""
    above_air = torch.from_numpy(intensity.mean - intensity.mean[0]).to(labels_XYZ.device)
    return above_air.index_select(0, labels_XYZ.flatten().int()).view(labels_XYZ.shape)


def apply_texture(intensity: Intensity, image_XYZ: Tensor, labels_XYZ: Tensor, *, seed: int) -> Tensor:
    """Vary an image around the mean of each voxel's label; `image_XYZ` is above air, the result is not negative."""
    device = image_XYZ.device
    std = torch.from_numpy(intensity.std).to(device).index_select(0, labels_XYZ.flatten()).view(labels_XYZ.shape)
    source = torch.Generator(device).manual_seed(seed)
    texture = torch.randn(image_XYZ.shape, generator=source, device=device)
    return torch.addcmul(image_XYZ + float(intensity.mean[0]), std, texture).clamp_(min=0)
