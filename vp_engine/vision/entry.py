"""How a scan enters the network: on the grid of the level nearest to its spacing, in the box that holds the head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vp_engine.vision.network import VisionConfig, entry_shape
from vp_engine.vision.pooling import block_mean, pooled_affine
from vp_engine.volumes.intensity import rescale
from vp_engine.volumes.volume import Volume

_HEAD_LEVEL = 0.04
_EVEN = 16


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """The box of a scan that holds the head, on the grid of the level it enters at.

    Attributes
    ----------
    image : torch.Tensor, shape (X, Y, Z)
        Intensities in [0, 1].
    affine : torch.Tensor, shape (4, 4)
        Of the box, voxel to world, mm.
    box : tuple of (int, int)
        Where it lies on the whole grid of that level; may leave it.
    entry_shape : tuple of int
        Shape of that whole grid.
    """

    image: Tensor
    affine: Tensor
    box: tuple[tuple[int, int], ...]
    entry_shape: tuple[int, int, int]

    @property
    def start(self) -> tuple[int, ...]:
        """First voxel of the box."""
        return tuple(first for first, _ in self.box)


def entered(canonical: Volume, config: VisionConfig, *, device: str) -> Stream:
    """Cut out the head, on the grid of the level that is nearest to the spacing of the scan.

    Parameters
    ----------
    canonical : Volume
        In RAS+ axis order.
    config : VisionConfig
    device : str
        Where the image is to lie.
    """
    image = torch.from_numpy(np.ascontiguousarray(canonical.data, dtype=np.float32)).to(device)
    affine = torch.from_numpy(canonical.affine)
    finest = config.entry_spacing_mm / 2 if config.fine_channels else config.entry_spacing_mm
    shape = entry_shape(canonical.shape, affine, finest)
    image = rescale(block_mean(image[None, None], shape)[0, 0])
    affine = pooled_affine(affine, canonical.shape, shape)
    box = _head_box(image, affine[:3, :3].norm(dim=0).tolist(), trunk_spacing_mm=config.entry_spacing_mm)
    affine[:3, 3] += affine[:3, :3] @ torch.tensor([first for first, _ in box], dtype=torch.float64)
    return Stream(cut(image, box), affine, box, shape)


def at_trunk(stream: Stream, config: VisionConfig) -> tuple[Tensor, Tensor]:
    """Image (X, Y, Z) and affine (4, 4) of a stream on the finest grid of the trunk."""
    x, y, z = stream.image.shape
    shape = entry_shape((x, y, z), stream.affine, config.entry_spacing_mm)
    image = block_mean(stream.image[None, None], shape)[0, 0]
    return image, pooled_affine(stream.affine, stream.image.shape, shape)


def cut(image_XYZ: Tensor, box: Sequence[tuple[int, int]]) -> Tensor:
    """Values inside the box, zero where it leaves the grid."""
    before_after = [(max(0, -start), max(0, stop - n)) for (start, stop), n in zip(box, image_XYZ.shape, strict=True)]
    inside = tuple(slice(max(0, a), min(n, b)) for (a, b), n in zip(box, image_XYZ.shape, strict=True))
    flat = [amount for pair in reversed(before_after) for amount in pair]
    return torch.nn.functional.pad(image_XYZ[inside], flat)


def _head_box(
    image_XYZ: Tensor, spacing_mm: Sequence[float], *, trunk_spacing_mm: float
) -> tuple[tuple[int, int], ...]:
    """Box around what is brighter than air, grown by 4 mm and to even numbers of voxels; may leave the grid."""
    bright = image_XYZ > _HEAD_LEVEL
    finest = min(spacing_mm)
    even = _EVEN * (2 if finest * 2**0.5 < trunk_spacing_mm else 1)
    box = []
    for axis, (n, spacing) in enumerate(zip(image_XYZ.shape, spacing_mm, strict=True)):
        share = bright.movedim(axis, 0).flatten(1).float().mean(1)
        used = torch.nonzero(share > 0.005).flatten()
        margin = round(4 / spacing)
        start, stop = (int(used[0]) - margin, int(used[-1]) + 1 + margin) if len(used) else (0, n)
        start, stop = max(0, start), min(n, stop)
        if spacing < (1.1 - 1e-6) * finest:  # 1.1 itself must not be decided by rounding
            missing = -(stop - start) % even
            start, stop = start - missing // 2, stop + missing - missing // 2
        box.append((start, stop))
    return tuple(box)
