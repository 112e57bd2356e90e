"""Smooth multiplicative shading, as receive coils make it."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def draw_bias_field(rng: np.random.Generator, *, log_std: float) -> np.ndarray:
    """Logarithm of the field at the points of a coarse grid that spans the image; (a, b, c)."""
    points = int(rng.integers(2, 6))
    return rng.uniform(0, log_std) * rng.standard_normal((points, points, points))


def apply_bias_field(log_field: np.ndarray, image_XYZ: Tensor) -> Tensor:
    """Multiply by the exponential of the interpolated field."""
    control = torch.from_numpy(log_field).to(image_XYZ)[None, None]
    field = F.interpolate(control, size=image_XYZ.shape, mode="trilinear", align_corners=True)[0, 0]
    return image_XYZ * field.exp()
