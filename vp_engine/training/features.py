"""What the network sees of a synthetic head, beside the truth."""

from __future__ import annotations

import torch
from torch import Tensor

from vp_engine.synthesis.scan import SyntheticHead
from vp_engine.vision.network import VisionNetwork, entry_shape
from vp_engine.vision.pooling import block_mean, pooled_affine
from vp_engine.vision.precision import mixed_precision


def features_and_truth(network: VisionNetwork, head: SyntheticHead, device: str) -> list[tuple[Tensor, Tensor]]:
    """Features and truth of every level and stream that the loss looks at: the trunk's, then the fine level's.

    Features are (1, C, X, Y, Z), the truth of their voxels is (X · Y · Z,) in C order.
    """
    config = network.config
    images = [image.to(device) for image in head.images]
    grids = [
        entry_shape((x.shape[0], x.shape[1], x.shape[2]), a, config.entry_spacing_mm)
        for x, a in zip(images, head.affines, strict=True)
    ]
    coarse = [block_mean(x[None, None], grid)[0, 0] for x, grid in zip(images, grids, strict=True)]
    affines = [pooled_affine(a, x.shape, g) for x, a, g in zip(images, head.affines, grids, strict=True)]
    found = []
    with mixed_precision(device):
        streams = network.trunk(coarse, affines)
        for image, trunk, target in zip(images, streams, head.targets, strict=True):
            found.append((trunk, _nearest(target.to(device), trunk.shape[2:]).flatten()))
            if image.shape != trunk.shape[2:] and config.fine_channels:
                found.append((network.fine(image, trunk), target.to(device).flatten()))
    return found


def _nearest(target_XYZ: Tensor, shape: torch.Size) -> Tensor:
    """Labels at the voxel nearest to each voxel centre of a grid of the same extent."""
    for axis, (n, m) in enumerate(zip(target_XYZ.shape, shape, strict=True)):
        if n != m:
            at = ((torch.arange(m, device=target_XYZ.device) + 0.5) * n / m).long()
            target_XYZ = target_XYZ.index_select(axis, at)
    return target_XYZ
