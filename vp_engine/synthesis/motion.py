"""A head that moves during the scan: lines of k-space that saw it at different poses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vp_engine.synthesis.rigid import Rigid, apply_rigid, draw_rigid


@dataclass(frozen=True, slots=True)
class Motion:
    """Segments of k-space along the phase axis that were read at another pose.

    Attributes
    ----------
    axis : int
    segments : tuple of (float, float, Rigid)
        First and last frequency in cycles per voxel, and the pose. Never the middle of k-space, whose
        pose is where the anatomy is seen.
    """

    axis: int
    segments: tuple[tuple[float, float, Rigid], ...]


def draw_motion(rng: np.random.Generator) -> Motion:
    """Draw one movement before or after the middle of k-space, or one on either side."""
    axis = int(rng.integers(3))
    sides = [(-1,), (1,), (-1, 1)][rng.integers(3)]
    segments = []
    for side in sides:
        near = float(np.exp(rng.uniform(np.log(0.02), np.log(0.2))))
        ends = sorted((side * near, side * 0.5))
        segments.append((ends[0], ends[1], draw_rigid(rng, rotation_deg=5, shift_mm=4)))
    return Motion(axis, tuple(segments))


def apply_motion(motion: Motion, image_XYZ: Tensor, spacing_mm: tuple[float, float, float]) -> Tensor:
    """Magnitude image of k-space whose segments come from the moved head.

    References
    ----------
    Shaw et al. 2019, *MRI k-space motion artefact augmentation*.
    """
    spectrum = torch.fft.fft(image_XYZ, dim=motion.axis)
    n = image_XYZ.shape[motion.axis]
    frequency = torch.fft.fftfreq(n, device=image_XYZ.device).view([-1 if a == motion.axis else 1 for a in range(3)])
    for low, high, pose in motion.segments:
        moved = torch.fft.fft(apply_rigid(pose, image_XYZ, spacing_mm), dim=motion.axis)
        spectrum = torch.where((frequency >= low) & (frequency <= high), moved, spectrum)
    magnitude: Tensor = torch.fft.ifft(spectrum, dim=motion.axis).abs()
    return magnitude
