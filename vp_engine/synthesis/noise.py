"""Noise of the receiver: Gaussian or, as magnitude images have it, Rician."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Noise:
    """Standard deviation (in units of the brightest tissue), kind, and the seed of the field."""

    std: float
    rician: bool
    seed: int


def draw_noise(rng: np.random.Generator, *, std: float) -> Noise:
    """Draw how much noise, of which kind."""
    return Noise(rng.uniform(0, std), bool(rng.random() < 0.5), int(rng.integers(2**31)))


def apply_noise(noise: Noise, image_XYZ: Tensor) -> Tensor:
    """Add the noise."""
    source = torch.Generator(image_XYZ.device).manual_seed(noise.seed)

    def field() -> Tensor:
        return noise.std * torch.randn(image_XYZ.shape, generator=source, device=image_XYZ.device)

    return torch.hypot(image_XYZ + field(), field()) if noise.rician else image_XYZ + field()
