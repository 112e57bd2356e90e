"""Round lesions with uneven borders: level sets of a distance with smooth noise on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vp_engine.synthesis.label_maps import inside_skull, voxels_of

Box = tuple[slice, slice, slice]

_STEP = 4
_KNOTS = 9


@dataclass(frozen=True, slots=True, eq=False)
class Blob:
    """Place, size and shape of a lesion.

    Attributes
    ----------
    site : float
        Which of the voxels where its middle may lie: 0 the first, 1 the last.
    radii_mm : numpy.ndarray, shape (3,)
    noise : numpy.ndarray, shape (n, n, n)
        Added to the distance from the middle, which is 1 at the border; over the whole box.
    """

    site: float
    radii_mm: np.ndarray
    noise: np.ndarray


def draw_blob(rng: np.random.Generator, *, radius_mm: tuple[float, float], roughness: float = 0.3) -> Blob:
    """Draw a blob whose radius lies in a range, small ones more often; `roughness` is the most of the noise."""
    radius = np.exp(rng.uniform(*np.log(radius_mm)))
    shape = np.exp(rng.uniform(-0.3, 0.3, 3))
    noise = rng.uniform(0.3, 1.0) * roughness * rng.standard_normal((_KNOTS, _KNOTS, _KNOTS))
    return Blob(float(rng.random()), radius * shape / shape.prod() ** (1 / 3), noise)


def middle_of(blob: Blob, labels_XYZ: Tensor, allowed: Sequence[int]) -> Tensor | None:
    """Voxel in the middle of a blob, one of those with an allowed label; (3,) int64, None where there are none."""
    places = voxels_of(labels_XYZ[::_STEP, ::_STEP, ::_STEP], allowed).nonzero()
    return _STEP * places[int(blob.site * (len(places) - 1))] if len(places) else None


def apply_blob(blob: Blob, middle: Tensor, shape: Sequence[int], *, reach: float = 1.6) -> tuple[Box, Tensor]:
    """Distance from the middle, noise included, of the voxels of a box: below 1 inside; float32.

    Parameters
    ----------
    blob : Blob
    middle : torch.Tensor of int64, shape (3,)
    shape : sequence of int
        Of the map; the box does not leave it.
    reach : float
        How far the box extends, in radii.
    """
    box, axes = [], []
    for at, radius, n in zip(middle.tolist(), blob.radii_mm, shape, strict=True):
        far = int(np.ceil(reach * radius)) + 1
        box.append(slice(max(0, at - far), min(n, at + far + 1)))
        axes.append((torch.arange(box[-1].start, box[-1].stop, device=middle.device) - at).float() / float(radius))
    unit = torch.stack(torch.meshgrid(axes, indexing="ij"), -1)
    knots = torch.from_numpy(blob.noise).to(middle.device, torch.float32)[None, None]
    noise = F.grid_sample(knots, unit.div(reach).flip(-1)[None], padding_mode="border", align_corners=True)[0, 0]
    return (box[0], box[1], box[2]), unit.norm(dim=-1) + noise


def push_aside(labels_XYZ: Tensor, blob: Blob, middle: Tensor, *, amount: float) -> Tensor:
    """Labels around a blob moved outwards, as tissue is by a mass that grows in it; the skull stays where it is.

    Parameters
    ----------
    labels_XYZ : torch.Tensor
    blob : Blob
    middle : torch.Tensor of int64, shape (3,)
    amount : float
        Share of the volume of the blob that is new and needs room, 0 to 1.

    Notes
    -----
    Tissue that cannot be compressed goes from the distance r to the cube root of r³ + `amount`, in radii; this dies
    off between 1.5 and 3 radii.
    """
    smooth = Blob(blob.site, blob.radii_mm, np.zeros((2, 2, 2)))
    box, distance = apply_blob(smooth, middle, labels_XYZ.shape, reach=3.0)
    ratio = (distance.pow(3) - amount).clamp(min=0).pow(1 / 3) / distance.clamp(min=1e-3)
    ratio = torch.lerp(torch.ones_like(ratio), ratio, ((3.0 - distance) / 1.5).clamp(0, 1))
    source = []
    for axis, (span, at) in enumerate(zip(box, middle.tolist(), strict=True)):
        offset = (torch.arange(span.start, span.stop, device=middle.device) - at).float()
        offset = offset.view([-1 if a == axis else 1 for a in range(3)])
        source.append((at + offset * ratio).round().long())
    here, moved = labels_XYZ[box], labels_XYZ[tuple(source)]
    pushed = labels_XYZ.clone()
    pushed[box] = torch.where(inside_skull(here) & inside_skull(moved), moved, here)
    return pushed
