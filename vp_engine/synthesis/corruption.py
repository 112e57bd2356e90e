"""Streams that show nothing: a failed acquisition or a wrong file among good ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Corruption:
    """Noise of a seed, or blank where there is none."""

    noise_seed: int | None


def draw_corruption(rng: np.random.Generator) -> Corruption:
    """Draw noise or a blank image."""
    return Corruption(int(rng.integers(2**31)) if rng.random() < 0.7 else None)


def apply_corruption(corruption: Corruption, image_XYZ: Tensor) -> Tensor:
    """An image of the same size that shows nothing."""
    if corruption.noise_seed is None:
        return torch.zeros_like(image_XYZ)
    source = torch.Generator(image_XYZ.device).manual_seed(corruption.noise_seed)
    return torch.rand(image_XYZ.shape, generator=source, device=image_XYZ.device)
