"""Errors of single points and of the extent of k-space: spikes, and truncation with its ringing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class KSpaceErrors:
    """What is wrong in k-space.

    Attributes
    ----------
    kept : tuple of 3 float
        Share of the frequencies along each axis that were read.
    spikes : tuple of (frequency, amplitude, phase)
        Cycles per voxel along each axis, share of the brightest voxel, radians.
    """

    kept: tuple[float, float, float]
    spikes: tuple[tuple[tuple[float, float, float], float, float], ...]


def draw_kspace_errors(rng: np.random.Generator) -> KSpaceErrors:
    """Draw a truncation along one or two axes, or one to three spikes."""
    if rng.random() < 0.5:
        kept = [1.0, 1.0, 1.0]
        for axis in rng.permutation(3)[: rng.integers(1, 3)]:
            kept[axis] = float(rng.uniform(0.4, 0.75))
        return KSpaceErrors((kept[0], kept[1], kept[2]), ())
    spikes = []
    for _ in range(rng.integers(1, 4)):
        x, y, z = rng.uniform(-0.35, 0.35, 3).tolist()
        spikes.append(((x, y, z), float(rng.uniform(0.02, 0.08)), float(rng.uniform(0, 2 * np.pi))))
    return KSpaceErrors((1.0, 1.0, 1.0), tuple(spikes))


def apply_kspace_errors(errors: KSpaceErrors, image_XYZ: Tensor) -> Tensor:
    """Magnitude of the image of a k-space with these errors.

    References
    ----------
    Graves and Mitchell 2013, *Body MRI artifacts in clinical practice*; Gibbs ringing and spike noise.
    """
    for axis, kept in enumerate(errors.kept):
        n = image_XYZ.shape[axis]
        spectrum = torch.fft.rfft(image_XYZ, dim=axis)
        unread = round(kept * spectrum.shape[axis])
        if kept < 1 and 0 < unread < spectrum.shape[axis]:
            spectrum.narrow(axis, unread, spectrum.shape[axis] - unread).zero_()
            image_XYZ = torch.fft.irfft(spectrum, n=n, dim=axis)
    brightest = image_XYZ.max()
    for frequencies, amplitude, phase in errors.spikes:
        x, y, z = (
            torch.exp(2j * np.pi * f * torch.arange(n, device=image_XYZ.device))
            for f, n in zip(frequencies, image_XYZ.shape, strict=True)
        )
        wave = (x[:, None, None] * complex(np.exp(1j * phase)) * y[:, None] * z).real
        image_XYZ = image_XYZ + amplitude * brightest * wave
    return image_XYZ.abs()
