"""A whole synthetic head: draw every parameter, then build images and targets from a label map.

References
----------
Billot et al. 2023, *SynthSeg: segmentation of brain MRI scans of any contrast and resolution*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vp_engine.anatomy import PARTS
from vp_engine.synthesis.bias_field import apply_bias_field, draw_bias_field
from vp_engine.synthesis.corruption import Corruption, apply_corruption, draw_corruption
from vp_engine.synthesis.ct import apply_window, draw_ct
from vp_engine.synthesis.defacing import Defacing, apply_defacing, draw_defacing
from vp_engine.synthesis.deformation import Deformation, apply_deformation, deformed_bounds, draw_deformation
from vp_engine.synthesis.field_of_view import FieldOfView, apply_field_of_view, draw_field_of_view, draw_shorter
from vp_engine.synthesis.ghosting import Ghosting, apply_ghosting, draw_ghosting
from vp_engine.synthesis.intensity import Intensity, apply_intensity, apply_texture, draw_intensity
from vp_engine.synthesis.kspace import KSpaceErrors, apply_kspace_errors, draw_kspace_errors
from vp_engine.synthesis.label_maps import LabelMap, brain_box, brain_points, mirror_lookup, target_lookup
from vp_engine.synthesis.motion import Motion, apply_motion, draw_motion
from vp_engine.synthesis.noise import Noise, apply_noise, draw_noise
from vp_engine.synthesis.pathology import LesionSources, Pathology, apply_pathology, draw_pathology
from vp_engine.synthesis.ranges import SynthesisRanges
from vp_engine.synthesis.resolution import Resolution, apply_resolution, apply_smoothing, draw_resolution
from vp_engine.synthesis.rigid import Rigid, draw_rigid
from vp_engine.synthesis.skull_strip import SkullStrip, apply_skull_strip, draw_skull_strip
from vp_engine.volumes.intensity import rescale

_CSF = PARTS.index("csf") + 1
_NO_PATIENTS = LesionSources()


@dataclass(frozen=True, slots=True)
class HeadParameters:
    """What all images of one head share.

    Attributes
    ----------
    centre_mm : tuple of 3 float
        World coordinates that the grids are centred on; the world's origin is the middle of the brain.
    """

    deformation: Deformation
    pathology: Pathology
    centre_mm: tuple[float, float, float]
    strip: SkullStrip | None
    defacing: Defacing | None


@dataclass(frozen=True, slots=True)
class ScanParameters:
    """All that was drawn for one image of one head; the same parameters rebuild the same image.

    Attributes
    ----------
    misalignment : Rigid or None
        How the image lies off the world that its affine says.
    window : tuple of (float, float) or None
        Of CT only.
    """

    resolution: Resolution
    misalignment: Rigid | None
    intensity: Intensity
    texture_seed: int
    log_bias: np.ndarray
    motion: Motion | None
    ghosting: Ghosting | None
    kspace: KSpaceErrors | None
    noise: Noise
    window: tuple[float, float] | None
    field_of_view: FieldOfView | None
    corruption: Corruption | None
    gamma: float


@dataclass(frozen=True, slots=True)
class SyntheticHead:
    """Images of one head and the truth, each on its own grid.

    Attributes
    ----------
    images : list of torch.Tensor, shape (X, Y, Z)
        Intensities in [0, 1].
    targets : list of torch.Tensor of int64, shape (X, Y, Z)
        0 for background, 1 + position in `anatomy.PARTS` otherwise. Fluid that was stripped away and all that
        lies outside the field of view is background.
    affines : list of torch.Tensor of float64, shape (4, 4)
        Voxel → common world in mm, on the CPU.
    """

    images: list[Tensor]
    targets: list[Tensor]
    affines: list[Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class _Site:
    """The head where one grid lies: 1 mm labels, positions in them, label and target of each voxel, what stays."""

    labels_1mm: Tensor
    unit_XYZ3: Tensor
    labels_XYZ: Tensor
    target_XYZ: Tensor
    kept_XYZ: Tensor | None


def random_head(
    rng: np.random.Generator,
    label_maps: Sequence[LabelMap],
    ranges: SynthesisRanges,
    *,
    lesions: LesionSources = _NO_PATIENTS,
    device: str = "cpu",
) -> SyntheticHead:
    """Draw a head with its images and build it.

    Parameters
    ----------
    rng : numpy.random.Generator
    label_maps : sequence of LabelMap
        One of them is drawn.
    ranges : SynthesisRanges
    lesions : LesionSources
        Lesions of real patients to paste; none are pasted where there are none.
    device : str
        Where the tensors are computed and stay.
    """
    label_map = label_maps[int(rng.integers(len(label_maps)))]
    head = draw_head(rng, ranges, lesions=lesions)
    return synthesise(label_map, head, draw_scans(rng, ranges, centre_mm=head.centre_mm), device=device)


def draw_head(
    rng: np.random.Generator, ranges: SynthesisRanges, *, lesions: LesionSources = _NO_PATIENTS
) -> HeadParameters:
    """Draw pose, shape, pathology, centre of the grids, and stripping or defacing."""
    x, y, z = rng.uniform(-1, 1, 3) * ranges.centre_jitter_mm
    stripped = rng.random() < ranges.skull_strip
    return HeadParameters(
        deformation=draw_deformation(rng, ranges.deformation),
        pathology=draw_pathology(rng, ranges, lesions),
        centre_mm=(float(x), float(y), float(z)),
        strip=draw_skull_strip(rng) if stripped else None,
        defacing=draw_defacing(rng) if not stripped and rng.random() < ranges.deface else None,
    )


def draw_scans(
    rng: np.random.Generator, ranges: SynthesisRanges, *, centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> list[ScanParameters]:
    """Draw how many images a head has and each of them: on one grid, or each on its own and slightly misaligned."""
    count = 1 + int(rng.choice(len(ranges.streams), p=ranges.streams))
    scans = [draw_scan(rng, ranges, centre_mm=centre_mm) for _ in range(count)]
    if count == 1:
        return scans
    if rng.random() < ranges.same_grid:
        scans = [replace(scan, resolution=scans[0].resolution, field_of_view=None) for scan in scans]
    else:
        rotation_deg, shift_mm = ranges.misalignment
        moves = [draw_rigid(rng, rotation_deg=rotation_deg, shift_mm=shift_mm) for _ in scans[1:]]
        scans[1:] = [replace(scan, misalignment=move) for scan, move in zip(scans[1:], moves, strict=True)]
    if rng.random() < ranges.corrupt_stream:
        bad = rng.integers(count)
        scans[bad] = replace(scans[bad], corruption=draw_corruption(rng))
    return scans


def draw_scan(
    rng: np.random.Generator, ranges: SynthesisRanges, *, centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> ScanParameters:
    """Draw grid, contrast, shading, artefacts, noise and gamma of one aligned image."""
    resolution = draw_resolution(rng, ranges, centre_mm=centre_mm)
    field_of_view = None
    if rng.random() < ranges.cropped_field_of_view:
        if rng.random() < 0.5:
            resolution = draw_shorter(rng, resolution)
        else:
            field_of_view = draw_field_of_view(rng, resolution.shape)
    is_ct = rng.random() < ranges.ct
    intensity, window = draw_ct(rng) if is_ct else (draw_intensity(rng, prior_contrast=ranges.prior_contrast), None)
    noise = draw_noise(rng, std=ranges.noise_std)
    return ScanParameters(
        resolution=resolution,
        misalignment=None,
        intensity=intensity,
        texture_seed=int(rng.integers(2**31)),
        log_bias=np.zeros((1, 1, 1)) if is_ct else draw_bias_field(rng, log_std=ranges.bias_log_std),
        motion=draw_motion(rng) if not is_ct and rng.random() < ranges.motion else None,
        ghosting=draw_ghosting(rng) if not is_ct and rng.random() < ranges.ghosting else None,
        kspace=draw_kspace_errors(rng) if not is_ct and rng.random() < ranges.kspace else None,
        noise=replace(noise, std=float(rng.uniform(0.001, 0.008)), rician=False) if is_ct else noise,
        window=window,
        field_of_view=field_of_view,
        corruption=None,
        gamma=1.0 if is_ct else float(np.exp(rng.normal(0, 0.2))),
    )


def synthesise(
    label_map: LabelMap, head: HeadParameters, scans: Sequence[ScanParameters], *, device: str = "cpu"
) -> SyntheticHead:
    """Build the images and targets of one head from what was drawn.

    Random fields come from the device's own source, so that a device rebuilds its own images only.
    """
    labels = label_map.labels.to(device)
    brain = brain_points(labels)
    labels = apply_pathology(head.pathology, labels, brain_box(brain))
    sites: dict[tuple[Resolution, int | None], _Site] = {}
    images, targets = [], []
    for number, scan in enumerate(scans):
        place = (scan.resolution, None if scan.misalignment is None else number)
        if place not in sites:
            sites[place] = _site(labels, brain, head, scan.resolution, scan.misalignment)
        site = sites[place]
        image, target = _image(site, scan), site.target_XYZ
        if scan.field_of_view is not None:
            image, target = (apply_field_of_view(scan.field_of_view, x) for x in (image, target))
        if scan.corruption is not None:
            image = apply_corruption(scan.corruption, image)
        images.append(rescale(image).pow_(scan.gamma))
        targets.append(target)
    return SyntheticHead(images, targets, [scan.resolution.affine() for scan in scans])


def _site(
    labels: Tensor, brain_N3: Tensor, head: HeadParameters, grid: Resolution, misalignment: Rigid | None
) -> _Site:
    device = str(labels.device)
    middle = brain_box(brain_N3).mean(0)
    axes = grid.axes_mm(samples=grid.samples)
    low, high = deformed_bounds(head.deformation, axes, misalignment=misalignment)
    start = np.floor(np.maximum(low + middle, 0)).astype(int) - grid.block_mm
    stop = np.ceil(np.minimum(high + middle, np.array(labels.shape) - 1)).astype(int) + 1 + grid.block_mm
    size = np.maximum(1, -(-(stop - start) // grid.block_mm)) * grid.block_mm
    part = _cut(labels, start, size)
    position = apply_deformation(head.deformation, axes, misalignment=misalignment, device=device)
    scale = torch.from_numpy(2 / size).to(position)
    unit = torch.addcmul(torch.from_numpy((2 * (middle - start) + 1) / size - 1).to(position), position, scale)
    unit = unit.flip(-1)  # grid_sample counts x from the last axis
    sample = grid.samples
    every = [slice(None)] * 3
    every[grid.slice_axis] = slice(sample // 2, None, sample)
    on_grid = F.grid_sample(part[None, None].float(), unit[tuple(every)][None], mode="nearest", align_corners=False)
    label = on_grid[0, 0].long()
    if head.deformation.mirrored:
        label = torch.from_numpy(mirror_lookup()).to(device)[label]
    target = torch.from_numpy(target_lookup()).to(device)[label]
    csf = target == _CSF
    kept = None
    if head.strip is not None:
        kept = apply_skull_strip(head.strip, (target > 0) & ~csf, csf, grid.spacing_mm)
    elif head.defacing is not None:
        offset = torch.from_numpy(middle).to(brain_N3)
        kept = apply_defacing(head.defacing, position[tuple(every)], brain_N3 - offset, (target > 0) & ~csf)
    if kept is not None:
        target = torch.where(csf & ~kept, 0, target)
    return _Site(part, unit, label, target, kept)


def _cut(labels: Tensor, start: np.ndarray, size: np.ndarray) -> Tensor:
    """Part of a label map, background where it leaves the map."""
    inside = [slice(max(0, int(a)), max(0, int(a + n))) for a, n in zip(start, size, strict=True)]
    part = labels[tuple(inside)]
    around = [(max(0, -int(a)), int(n) - max(0, -int(a)) - m) for a, n, m in zip(start, size, part.shape, strict=True)]
    return F.pad(part, [amount for pair in reversed(around) for amount in pair])


def _image(site: _Site, scan: ScanParameters) -> Tensor:
    grid = scan.resolution
    image = apply_resolution(
        grid, apply_intensity(scan.intensity, site.labels_1mm, seed=scan.texture_seed), site.unit_XYZ3
    )
    image = apply_texture(scan.intensity, image, site.labels_XYZ, seed=scan.texture_seed)
    image = apply_smoothing(grid, image)
    image = apply_bias_field(scan.log_bias, image)
    if scan.motion is not None:
        image = apply_motion(scan.motion, image, grid.spacing_mm)
    if scan.ghosting is not None:
        image = apply_ghosting(scan.ghosting, image)
    if scan.kspace is not None:
        image = apply_kspace_errors(scan.kspace, image)
    image = apply_noise(scan.noise, image)
    if scan.window is not None:
        image = apply_window(scan.window, image)
    return image if site.kept_XYZ is None else image * site.kept_XYZ
