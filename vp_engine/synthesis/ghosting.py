"""Faint copies of the head along the phase axis, as pulsation and breathing make them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Ghosting:
    """Periodic modulation of k-space: `copies` per field of view, each with a share and a phase in radians."""

    axis: int
    copies: int
    strength: float
    phase: float


def draw_ghosting(rng: np.random.Generator) -> Ghosting:
    """Draw axis, distance, strength and phase of the copies."""
    return Ghosting(
        int(rng.integers(3)), int(rng.integers(2, 9)), float(rng.uniform(0.05, 0.25)), float(rng.uniform(0, 2 * np.pi))
    )


def apply_ghosting(ghosting: Ghosting, image_XYZ: Tensor) -> Tensor:
    """Magnitude of the image plus its copies, shifted both ways and wrapped around."""
    step = max(1, round(image_XYZ.shape[ghosting.axis] / ghosting.copies))
    both = image_XYZ.roll(step, ghosting.axis) + image_XYZ.roll(-step, ghosting.axis)
    real = image_XYZ + ghosting.strength * np.cos(ghosting.phase) * both
    return torch.hypot(real, ghosting.strength * np.sin(ghosting.phase) * both)
