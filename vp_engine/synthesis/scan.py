"""A whole synthetic scan: draw every parameter, then build image and target from a label map.

References
----------
Billot et al. 2023, *SynthSeg: segmentation of brain MRI scans of any contrast and resolution*.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vp_engine.anatomy import PARTS
from vp_engine.synthesis.bias_field import apply_bias_field, draw_bias_field
from vp_engine.synthesis.deformation import Deformation, apply_deformation, draw_deformation
from vp_engine.synthesis.intensity import Intensity, apply_intensity, draw_intensity
from vp_engine.synthesis.label_maps import LabelMap, mirror_lookup, target_lookup
from vp_engine.synthesis.noise import Noise, apply_noise, draw_noise
from vp_engine.synthesis.ranges import SynthesisRanges
from vp_engine.synthesis.resolution import Resolution, apply_thickness, draw_resolution, sample_image
from vp_engine.synthesis.skull_strip import SkullStrip, apply_skull_strip, draw_skull_strip
from vp_engine.volumes.intensity import rescale

_CSF, _BRAINSTEM = PARTS.index("csf") + 1, PARTS.index("brainstem") + 1


@dataclass(frozen=True, slots=True)
class ScanParameters:
    """All that was drawn for one image of one head; the same parameters rebuild the same image."""

    intensity: Intensity
    log_bias: np.ndarray
    noise: Noise
    gamma: float
    texture_seed: int


@dataclass(frozen=True, slots=True)
class HeadParameters:
    """What all images of one head share: pose, shape, grid and stripping."""

    deformation: Deformation
    resolution: Resolution
    strip: SkullStrip | None


@dataclass(frozen=True, slots=True)
class SyntheticHead:
    """Co-registered images of one head and the truth.

    Attributes
    ----------
    images : list of torch.Tensor, shape (X, Y, Z)
        Intensities in [0, 1].
    target : torch.Tensor of int64, shape (X, Y, Z)
        0 for background, 1 + position in `anatomy.PARTS` otherwise; fluid that was stripped away is background.
    spacing_mm : tuple of 3 float
    """

    images: list[Tensor]
    target: Tensor
    spacing_mm: tuple[float, float, float]


def draw_head(rng: np.random.Generator, ranges: SynthesisRanges) -> HeadParameters:
    """Draw pose, shape, grid and stripping."""
    return HeadParameters(
        deformation=draw_deformation(rng, ranges.deformation),
        resolution=draw_resolution(rng, ranges),
        strip=draw_skull_strip(rng) if rng.random() < ranges.skull_strip else None,
    )


def draw_scan(rng: np.random.Generator, ranges: SynthesisRanges) -> ScanParameters:
    """Draw contrast, shading, noise and gamma of one image."""
    return ScanParameters(
        intensity=draw_intensity(rng, prior_contrast=ranges.prior_contrast),
        log_bias=draw_bias_field(rng, log_std=ranges.bias_log_std),
        noise=draw_noise(rng, std=ranges.noise_std),
        gamma=float(np.exp(rng.normal(0, 0.2))),
        texture_seed=int(rng.integers(2**31)),
    )


def synthesise(label_map: LabelMap, head: HeadParameters, scans: list[ScanParameters]) -> SyntheticHead:
    """Build the images and the target of one head from what was drawn."""
    grid = head.resolution
    labels = label_map.labels
    position = apply_deformation(head.deformation, grid.shape, grid.spacing_mm)
    centre = torch.tensor([(n - 1) / 2 for n in labels.shape])
    position_vox = position + _brain_offset(labels) + centre
    on_grid = _nearest(labels, position_vox)
    if head.deformation.mirrored:
        on_grid = mirror_lookup()[on_grid]
    target = torch.from_numpy(target_lookup()[on_grid])
    keep = None
    if head.strip is not None:
        csf = target == _CSF
        keep = apply_skull_strip(head.strip, (target > 0) & ~csf, csf, grid.spacing_mm)
        target = torch.where(csf & ~keep, 0, target)
    images = [_image(labels, grid, position_vox, on_grid, scan) for scan in scans]
    if keep is not None:
        images = [image * keep for image in images]
    images = [torch.from_numpy(rescale(x.numpy())) ** scan.gamma for x, scan in zip(images, scans, strict=True)]
    return SyntheticHead(images, target, grid.spacing_mm)


def _image(
    labels: np.ndarray,
    grid: Resolution,
    position_vox: Tensor,
    on_grid: np.ndarray,
    scan: ScanParameters,
) -> Tensor:
    fine = torch.from_numpy(apply_intensity(scan.intensity, labels))
    averaged = apply_thickness(fine, grid.thickness_mm)
    kx, ky, kz = (max(1, round(t)) for t in grid.thickness_mm)
    image = sample_image(averaged, (kx, ky, kz), position_vox)
    source = torch.Generator().manual_seed(scan.texture_seed)
    texture = torch.from_numpy(scan.intensity.std[on_grid]) * torch.randn(image.shape, generator=source)
    image = apply_bias_field(scan.log_bias, (image + texture).clamp(min=0))
    return apply_noise(scan.noise, image)


def _brain_offset(labels: np.ndarray) -> Tensor:
    """From the centre of the map to the middle of the brain's bounding box, in voxels (= mm).

    Fluid and brainstem reach into the neck and do not count.
    """
    coarse = target_lookup()[labels[::4, ::4, ::4]]
    brain = (coarse > 0) & (coarse != _CSF) & (coarse != _BRAINSTEM)
    found = [np.flatnonzero(brain.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
    middle = torch.tensor([2.0 * float(axis[0] + axis[-1]) for axis in found])
    return middle - torch.tensor([(n - 1) / 2 for n in labels.shape])


def _nearest(labels: np.ndarray, position_vox: Tensor) -> np.ndarray:
    index = position_vox.round().long().numpy()
    inside = ((index >= 0) & (index < np.array(labels.shape))).all(axis=-1)
    index = np.clip(index, 0, np.array(labels.shape) - 1)
    found: np.ndarray = np.where(inside, labels[index[..., 0], index[..., 1], index[..., 2]], 0)
    return found
