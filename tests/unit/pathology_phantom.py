"""A small head of formulas as labels, and lesions of simple shapes to put into it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vp_engine.synthesis.blobs import Blob
from vp_engine.synthesis.label_maps import voxels_of
from vp_engine.synthesis.lesion_masks import LesionMask, Placement

LEFT, RIGHT, CORTEX, VENTRICLE, CHOROID, CSF, BONE, SKIN = 2, 41, 3, 4, 136, 24, 515, 511
MIDDLE = torch.tensor([48, 48, 48])


def small_head() -> Tensor:
    """White matter of two sides around ventricles with plexus, cortex, fluid, bone, skin; one lesion on the left."""
    n = torch.arange(97) - 48.0
    x, y, z = torch.meshgrid(n, n, n, indexing="ij")
    radius = (x**2 + y**2 + z**2).sqrt()
    left = x < 0
    labels = torch.where(left, LEFT, RIGHT)
    labels[radius >= 34] = CORTEX
    labels[(radius >= 34) & ~left] = 42
    for inner, label in ((38, CSF), (41, BONE), (43, SKIN), (46, 0)):
        labels[radius >= inner] = label
    ventricle = (((x.abs() - 6) / 4) ** 2 + (y / 14) ** 2 + (z / 5) ** 2 < 1) & (x != 0)
    labels[ventricle & left], labels[ventricle & ~left] = VENTRICLE, 43
    labels[ventricle & (z < -2) & left], labels[ventricle & (z < -2) & ~left] = CHOROID, 163
    labels[(x + 20) ** 2 + y**2 + (z - 14) ** 2 < 25] = 25
    return labels.to(torch.int16)


def plain_head() -> Tensor:
    """White matter of one side in a thin skull."""
    n = torch.arange(97) - 48.0
    radius = (n[:, None, None] ** 2 + n[None, :, None] ** 2 + n[None, None, :] ** 2).sqrt()
    return torch.where(radius < 44, LEFT, torch.where(radius < 46, BONE, 0)).to(torch.int16)


def cuboid(start_mm: Sequence[float], size: Sequence[int], name: str = "one") -> LesionMask:
    return LesionMask(F.pad(torch.ones(*size, dtype=torch.bool), [2] * 6), np.array(start_mm) - 2, name)


def placed(mask: LesionMask, *, mirrored: bool = False, scaling: float = 1, warp_mm: float = 0) -> Placement:
    warp = warp_mm * np.random.default_rng(0).standard_normal((3, 4, 4, 4))
    return Placement(mask, mirrored, np.full(3, scaling), np.zeros(3), warp)


def ball(radius_mm: float) -> Blob:
    return Blob(0.5, np.full(3, radius_mm), np.zeros((2, 2, 2)))


def at(labels: Tensor, middle: Tensor, allowed: Sequence[int]) -> float:
    """Site of a blob whose middle is the place nearest to a voxel."""
    places = 4 * voxels_of(labels[::4, ::4, ::4], allowed).nonzero()
    nearest = int((places - middle).float().norm(dim=1).argmin())
    return (nearest + 0.5) / (len(places) - 1)


def distance_to(labels: Tensor, chosen: Sequence[int], where: Tensor) -> float:
    """Mean distance of some voxels from the nearest one with one of some labels, mm."""
    return float(
        torch.cdist(where.nonzero()[::11].float(), voxels_of(labels, chosen).nonzero()[::3].float()).amin(1).mean()
    )


def beside(mask: Tensor) -> Tensor:
    """A mask and the voxels that share a face, an edge or a corner with it."""
    return F.max_pool3d(mask[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0
