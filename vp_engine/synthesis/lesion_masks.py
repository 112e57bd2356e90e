"""Lesions of real patients as masks in MNI space, and laying one on a label map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vp_engine.synthesis.blobs import Box

_MNI_BRAIN_MM = np.array([[-72.0, -106.0, -65.5], [72.0, 72.0, 74.5]])
"""Corners of the box around hemispheres and cerebellum of the MNI152 brain, lowered until the lateral ventricles of the
maps lie on those of the template: heads are pitched, and the box does not know."""
_KNOTS = 6


@dataclass(frozen=True, slots=True, eq=False)
class LesionMask:
    """Lesions of one patient in MNI space.

    Attributes
    ----------
    mask : torch.Tensor of bool, shape (X, Y, Z)
        1 mm, RAS+.
    origin_mm : numpy.ndarray, shape (3,)
        MNI coordinates of the first voxel.
    name : str
    """

    mask: Tensor
    origin_mm: np.ndarray
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """A mask and how it is laid on a head.

    Attributes
    ----------
    mask : LesionMask
    mirrored : bool
        Left and right exchanged.
    scaling, shift_mm : numpy.ndarray, shape (3,)
        Of the mask, after its brain box has been laid on that of the map.
    warp_mm : numpy.ndarray, shape (3, n, n, n)
        Smooth displacement over the brain box of MNI.
    """

    mask: LesionMask
    mirrored: bool
    scaling: np.ndarray
    shift_mm: np.ndarray
    warp_mm: np.ndarray


def load_lesion_masks(path: Path, *, device: str = "cpu") -> list[LesionMask]:
    """Read an archive of `mask_<id>` (RAS+ crops), `start_<id>` and `affine_ras` (1 mm MNI)."""
    with np.load(path) as archive:
        affine = archive["affine_ras"]
        names = sorted(key[5:] for key in archive.files if key.startswith("mask_"))
        return [
            LesionMask(
                torch.from_numpy(archive[f"mask_{name}"] > 0).to(device), affine[:3, 3] + archive[f"start_{name}"], name
            )
            for name in names
        ]


def draw_placement(
    rng: np.random.Generator, mask: LesionMask, *, scaling: float, shift_mm: float, warp_mm: float
) -> Placement:
    """Draw side, size, place and shape of a mask; the arguments are half-widths, `warp_mm` a standard deviation."""
    return Placement(
        mask,
        bool(rng.random() < 0.5),
        rng.uniform(1 - scaling, 1 + scaling, 3),
        rng.uniform(-shift_mm, shift_mm, 3),
        warp_mm * rng.standard_normal((3, _KNOTS, _KNOTS, _KNOTS)),
    )


def apply_placement(
    placement: Placement, shape: tuple[int, ...], brain_box_vox: np.ndarray
) -> tuple[Box, Tensor] | None:
    """Where a mask comes to lie on a map: a box of the map and the share of each voxel that is inside, float32.

    None when it comes to lie outside the map.

    Parameters
    ----------
    placement : Placement
    shape : tuple of int
        Of the map, 1 mm, RAS+.
    brain_box_vox : numpy.ndarray, shape (2, 3)
        Corners of the brain in the map.
    """
    mask, device = placement.mask.mask, placement.mask.mask.device
    middle, size = _MNI_BRAIN_MM.mean(0), np.ptp(_MNI_BRAIN_MM, axis=0)
    margin = np.abs(placement.warp_mm).max() + 2
    box, axes_mm = [], []
    for axis, n in enumerate(shape):
        low, high = brain_box_vox[:, axis]
        share = (np.arange(n) - (low + high) / 2 - placement.shift_mm[axis]) / (high - low)
        mni = share * size[axis] / placement.scaling[axis]
        mni = middle[axis] + (-mni if axis == 0 and placement.mirrored else mni)
        first = placement.mask.origin_mm[axis]
        inside = np.flatnonzero((mni > first - margin) & (mni < first + mask.shape[axis] - 1 + margin))
        if not len(inside):
            return None
        box.append(slice(int(inside[0]), int(inside[-1]) + 1))
        axes_mm.append(mni[box[-1]])
    grid = torch.meshgrid([torch.from_numpy(a).to(device, torch.float32) for a in axes_mm], indexing="ij")
    at_XYZ3 = torch.stack(grid, -1)
    half = torch.tensor(size / 2, dtype=torch.float32, device=device)
    unit = (at_XYZ3 - torch.tensor(middle, dtype=torch.float32, device=device)) / half
    knots = torch.from_numpy(placement.warp_mm).to(device, torch.float32)[None]
    warp = F.grid_sample(knots, unit.flip(-1)[None], padding_mode="border", align_corners=True)[0].movedim(0, -1)
    origin = torch.tensor(placement.mask.origin_mm, dtype=torch.float32, device=device)
    last = torch.tensor([n - 1 for n in mask.shape], dtype=torch.float32, device=device)
    voxel = 2 * (at_XYZ3 + warp - origin) / last.clamp(min=1) - 1
    share_XYZ = F.grid_sample(mask.float()[None, None], voxel.flip(-1)[None], align_corners=True)[0, 0]
    return (box[0], box[1], box[2]), share_XYZ
