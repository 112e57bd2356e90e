"""Computed tomography: densities that do not vary from scanner to scanner, seen through a window."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from vp_engine.synthesis.intensity import FLUID, GRAY, WHITE, Intensity, intensity_of
from vp_engine.synthesis.label_maps import tissue_of_label

_AIR_HU = -1000.0

DENSITY_HU: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(tissue_of_label().values(), (37.0, 1.5)),
    **dict.fromkeys(FLUID, (8.0, 2.0)),
    **dict.fromkeys(GRAY, (37.0, 1.5)),
    **dict.fromkeys(WHITE, (28.0, 1.5)),
    "background": (_AIR_HU, 0.0), "thalamus": (35.0, 1.5), "ventral_dc": (31.0, 1.5), "pallidum": (38.0, 3.0),
    "lesion": (20.0, 3.0), "choroid": (45.0, 20.0), "vessel": (45.0, 5.0), "artery": (45.0, 5.0),
    "sinus": (55.0, 6.0), "muscle": (55.0, 4.0), "skin": (-60.0, 25.0), "soft_tissue": (30.0, 20.0),
    "necrosis": (22.0, 4.0), "enhancing": (42.0, 6.0), "edema": (19.0, 3.0), "glioma": (25.0, 5.0),
    "stroke_cavity": (9.0, 3.0), "gliosis": (20.0, 4.0), "blood": (65.0, 7.0), "blood_rim": (58.0, 8.0),
    "surgical_cavity": (10.0, 4.0), "perivascular_space": (20.0, 3.0), "bright_rim": (25.0, 2.0),
    "mucosa": (35.0, 10.0), "eye": (12.0, 4.0), "bone": (1100.0, 130.0), "marrow": (400.0, 120.0),
}  # fmt: skip
"""Mean and spread between heads of the density of each tissue, in Hounsfield units.

References
----------
Hounsfield units of fat -90, water 0, blood 45 and of brain tissue: Kamalian et al. 2016, *Computed tomography
imaging and angiography: principles*. Scalp is fat and skin, marrow is bone and fat, each mixed at 1 mm.
"""

_TEXTURE_HU: Mapping[str, float] = {"bone": 150.0, "marrow": 100.0, "skin": 20.0, "soft_tissue": 15.0, "mucosa": 15.0}


def draw_ct(rng: np.random.Generator) -> tuple[Intensity, tuple[float, float]]:
    """Draw densities and a window, both in thousands of Hounsfield units above air."""
    densities = {tissue: mean + spread * rng.standard_normal() for tissue, (mean, spread) in DENSITY_HU.items()}
    textures = {tissue: _TEXTURE_HU.get(tissue, 2.0) * rng.uniform(0.5, 1.5) for tissue in DENSITY_HU}
    if rng.random() < 0.5:
        low, high = rng.uniform(-40, 0), rng.uniform(70, 120)
    else:
        low, high = _AIR_HU, 3000.0
    scaled = {tissue: max(0.0, (hu - _AIR_HU) / 1000) for tissue, hu in densities.items()}
    stds = {tissue: hu / 1000 for tissue, hu in textures.items()}
    intensity = intensity_of(scaled, stds, patchiness=float(rng.uniform(0.0, 0.3)))
    return intensity, ((low - _AIR_HU) / 1000, (high - _AIR_HU) / 1000)


def apply_window(window: tuple[float, float], image_XYZ: Tensor) -> Tensor:
    """Densities above the lower end of the window, at most its width."""
    low, high = window
    return image_XYZ.clamp(low, high) - low
